'use strict';
// What is measured, the same for every Node peer.
//
// A script of a peer is called as `SCRIPT WORKLOAD name=value ...`, and prints its figures as one
// line of JSON.

const assert = require('node:assert');
const { argument, burn } = require('./functions.js');

const WARM_UP = 1000;

/** Tasks that are submitted and not done, at most. */
const SUBMITTED = 256;

/** How many items a chunk made by hand has. */
const CHUNK = 1000;

/** How long bytes are measured at least, in milliseconds. */
const BYTES_TIME = 800;

/**
 * `start(workers)` gives a pool with `call(name, argument)`, a promise of a result, and `stop()`.
 */
async function main(start) {
  const [workload, ...words] = process.argv.slice(2);
  const parameters = Object.fromEntries(words.map((word) => word.split('=', 2)));
  const number = (name) => Number(parameters[name]);
  const pool = await start(number('workers'));
  const figures = await workloads[workload](pool, number);
  if (figures) console.log(JSON.stringify(figures));
  await pool.stop();
  process.exit(0);
}

const workloads = {
  async 'one-by-one'(pool, number) {
    const run = async (tasks) => {
      const began = performance.now();
      let sum = 0;
      await submitted(tasks, async (task) => {
        // Not `+= await`, which would add to the sum of before.
        const result = await pool.call('square', argument(task));
        sum += result;
      });
      const rate = (tasks / (performance.now() - began)) * 1e3;
      let expected = 0;
      for (let task = 0; task < tasks; task += 1) expected += argument(task) ** 2;
      assert.strictEqual(sum, expected);
      return rate;
    };
    await run(WARM_UP);
    const rate = await run(number('tasks'));
    return { per_second: rate, us: 1e6 / rate };
  },

  async map(pool, number) {
    const run = async (tasks) => {
      const began = performance.now();
      const results = new Array(tasks);
      await submitted(Math.ceil(tasks / CHUNK), async (chunk) => {
        const start = chunk * CHUNK;
        const length = Math.min(CHUNK, tasks - start);
        const numbers = Array.from({ length }, (_, index) => argument(start + index));
        const squares = await pool.call('squares', numbers);
        assert.strictEqual(squares.length, length);
        for (let index = 0; index < length; index += 1) results[start + index] = squares[index];
      });
      const rate = (tasks / (performance.now() - began)) * 1e3;
      assert(results.every((result, task) => result === argument(task) ** 2));
      return rate;
    };
    await run(WARM_UP);
    const rate = await run(number('tasks'));
    return { per_second: rate, ns: 1e9 / rate };
  },

  async 'round-trip'(pool, number) {
    const times = [];
    for (let task = 0; task < WARM_UP + number('tasks'); task += 1) {
      const n = argument(task);
      const began = performance.now();
      const result = await pool.call('square', n);
      times.push((performance.now() - began) * 1e3);
      assert.strictEqual(result, n * n);
    }
    const sorted = times.slice(WARM_UP).sort((one, other) => one - other);
    const at = (percent) => sorted[Math.floor((sorted.length * percent) / 100)];
    return { p50_us: at(50), p90_us: at(90), p99_us: at(99) };
  },

  async bytes(pool, number) {
    const size = number('size');
    const sent = Uint8Array.from({ length: size }, (_, index) => index % 251);
    const message = async () => {
      const back = await pool.call('echo', sent);
      assert(back.length === size && back[0] === sent[0] && back[size - 1] === sent[size - 1]);
      return back;
    };
    assert(Buffer.compare(Buffer.from(await message()), Buffer.from(sent)) === 0);
    await message();
    const began = performance.now();
    let count = 0;
    while (count < 5 || performance.now() - began < BYTES_TIME) {
      await message();
      count += 1;
    }
    return { mb_per_second: (count * size) / (performance.now() - began) / 1e3 };
  },

  async burning(pool, number) {
    const tasks = number('tasks');
    const rounds = Math.round(roundsPerMs() * number('ms'));
    const serialBegan = performance.now();
    const expected = burn(rounds);
    for (let task = 1; task < tasks; task += 1) burn(rounds);
    const serial = performance.now() - serialBegan;
    // Workers compile the function too.
    await submitted(number('workers') * 50, () => pool.call('burn', 10_000));
    const began = performance.now();
    let count = 0;
    await submitted(tasks, async () => {
      assert.strictEqual(await pool.call('burn', rounds), expected);
      count += 1;
    });
    const time = performance.now() - began;
    assert.strictEqual(count, tasks);
    return { seconds: time / 1e3, speed_up: serial / time };
  },

  async cold(pool) {
    console.log(await pool.call('square', 5));
  },
};

/** Runs tasks with a limited number of them under way. */
async function submitted(tasks, run) {
  let next = 0;
  const lane = async () => {
    while (next < tasks) {
      next += 1;
      await run(next - 1);
    }
  };
  await Promise.all(Array.from({ length: Math.min(SUBMITTED, tasks) }, lane));
}

function roundsPerMs() {
  let best = 0;
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const began = performance.now();
    burn(1_000_000);
    best = Math.max(best, 1_000_000 / (performance.now() - began));
  }
  return best;
}

module.exports = { main };
