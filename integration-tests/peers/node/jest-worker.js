'use strict';
// jest-worker, with processes.

const { Worker } = require('jest-worker');

require('./workloads.js').main((numWorkers) => {
  const pool = new Worker(require.resolve('./functions.js'), {
    numWorkers,
    exposedMethods: ['square', 'squares', 'echo', 'burn'],
    // Bytes are no JSON.
    forkOptions: { serialization: 'advanced' },
  });
  return {
    call: (name, argument) => pool[name](argument),
    stop: () => pool.end(),
  };
});
