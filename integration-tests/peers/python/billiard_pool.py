"""billiard.Pool: the fork of multiprocessing that Celery uses."""

import billiard

import multiprocessing_pool
import workloads


class Peer(multiprocessing_pool.Peer):
    make = billiard.Pool


if __name__ == "__main__":
    workloads.main(Peer)
