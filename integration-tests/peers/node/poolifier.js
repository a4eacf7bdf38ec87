'use strict';
// poolifier, its pool of processes.

const { ClusterWorker, FixedClusterPool } = require('poolifier');
const cluster = require('node:cluster');
const functions = require('./functions.js');

if (cluster.isPrimary) {
  require('./workloads.js').main((workers) => {
    // Bytes are no JSON.
    const settings = { serialization: 'advanced' };
    const pool = new FixedClusterPool(workers, __filename, { settings });
    return {
      call: (name, argument) => pool.execute(argument, name),
      stop: () => pool.destroy(),
    };
  });
} else {
  const { square, squares, echo, burn } = functions;
  module.exports = new ClusterWorker({ square, squares, echo, burn });
}
