"""mpire.WorkerPool."""

import mpire

import workloads


class Peer:
    def __init__(self, workers):
        self.pool = mpire.WorkerPool(workers, keep_alive=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.stop_and_join()
        self.pool.terminate()

    def one_by_one(self, function, arguments):
        return self.pool.imap_unordered(function, arguments, chunk_size=1)

    def in_chunks(self, function, arguments):
        return self.pool.map(function, arguments)

    def at_once(self, function, arguments):
        return self.pool.map(function, arguments, chunk_size=1)

    def call(self, function, argument):
        return self.pool.apply(function, (argument,))


if __name__ == "__main__":
    workloads.main(Peer)
