'use strict';
// The functions that are measured, and the arguments they get.

/** The argument of the task with this number: small, and not always the same. */
const argument = (task) => task % 1000;

const square = (n) => n * n;

const squares = (all) => all.map(square);

const echo = (value) => value;

/** Work that only the processor limits. */
function burn(rounds) {
  let state = 0x1e3779b9;
  for (let round = 0; round < rounds; round += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
  }
  return state >>> 0;
}

module.exports = { argument, square, squares, echo, burn };
