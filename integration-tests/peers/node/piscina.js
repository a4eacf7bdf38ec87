'use strict';
// piscina: threads of one process.

const Piscina = require('piscina');

require('./workloads.js').main((threads) => {
  const pool = new Piscina({
    filename: require.resolve('./functions.js'),
    minThreads: threads,
    maxThreads: threads,
  });
  return {
    call: (name, argument) => pool.run(argument, { name }),
    stop: () => pool.destroy(),
  };
});
