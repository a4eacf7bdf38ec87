"""loky: the executor behind joblib."""

import loky

import process_pool_executor
import workloads


class Peer(process_pool_executor.Peer):
    def make(self, workers):
        return loky.ProcessPoolExecutor(workers)


if __name__ == "__main__":
    workloads.main(Peer)
