"""pebble.ProcessPool."""

import pebble

import workloads


class Peer:
    def __init__(self, workers):
        self.workers = workers
        self.pool = pebble.ProcessPool(max_workers=workers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.close()
        self.pool.join()

    def one_by_one(self, function, arguments):
        futures = [self.pool.schedule(function, args=(argument,)) for argument in arguments]
        return (future.result() for future in futures)

    def in_chunks(self, function, arguments):
        few = max(1, len(arguments) // (4 * self.workers))
        return self.pool.map(function, arguments, chunksize=min(1000, few)).result()

    def at_once(self, function, arguments):
        return self.pool.map(function, arguments, chunksize=1).result()

    def call(self, function, argument):
        return self.pool.schedule(function, args=(argument,)).result()


if __name__ == "__main__":
    workloads.main(Peer)
