'use strict';
// workerpool, with processes.

const workerpool = require('workerpool');
const { square, squares, echo, burn } = require('./functions.js');

if (process.send === undefined) {
  require('./workloads.js').main((maxWorkers) => {
    // Bytes are no JSON.
    const forkOpts = { serialization: 'advanced' };
    const options = { minWorkers: maxWorkers, maxWorkers, workerType: 'process', forkOpts };
    const pool = workerpool.pool(__filename, options);
    return {
      call: (name, argument) => pool.exec(name, [argument]),
      stop: () => pool.terminate(),
    };
  });
} else {
  workerpool.worker({ square, squares, echo, burn });
}
