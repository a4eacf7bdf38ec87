"""multiprocessing.Pool of the standard library, with its default way to start workers."""

import multiprocessing

import workloads


class Peer:
    make = multiprocessing.Pool

    def __init__(self, workers):
        self.pool = type(self).make(workers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.close()
        self.pool.join()

    def one_by_one(self, function, arguments):
        return self.pool.imap_unordered(function, arguments)

    def in_chunks(self, function, arguments):
        return self.pool.map(function, arguments)

    def at_once(self, function, arguments):
        return self.pool.map(function, arguments, 1)

    def call(self, function, argument):
        return self.pool.apply(function, (argument,))


if __name__ == "__main__":
    workloads.main(Peer)
