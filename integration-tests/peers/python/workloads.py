"""What is measured, the same for every Python peer.

A script of a peer is called as `SCRIPT WORKLOAD name=value ...`, and prints its figures as one
line of JSON. Times are taken in here, so the start of the interpreter does not count, except
where a whole program is measured from outside.
"""

import json
import sys
import time

from tasks import argument, burn, echo, rounds_per_ms, square, wait_for_all

WARM_UP = 1000

# How long bytes are measured at least, in seconds.
BYTES_TIME = 0.8


def main(peer_class):
    """`peer_class(workers)` is a context with the methods

    - `one_by_one(function, arguments)`: results in any order, each task sent by itself;
    - `in_chunks(function, arguments)`: results in order, in the peer's best chunks;
    - `call(function, argument)`: one result;
    - `at_once(function, arguments)`: as `in_chunks`, with a task for each worker.
    """
    workload = sys.argv[1].replace("-", "_")
    parameters = dict(word.split("=", 1) for word in sys.argv[2:])
    workers = int(parameters.pop("workers"))
    figures = globals()[workload](lambda: peer_class(workers), workers, **parameters)
    if figures is not None:
        print(json.dumps(figures))


def one_by_one(start, workers, tasks):
    with start() as peer:
        def run(count):
            arguments = [argument(task) for task in range(count)]
            began = time.perf_counter()
            results = peer.one_by_one(square, arguments)
            seen = total = 0
            for result in results:
                seen += 1
                total += result
            seconds = time.perf_counter() - began
            assert (seen, total) == (count, sum(n * n for n in arguments))
            return count / seconds

        run(WARM_UP)
        rate = run(int(tasks))
        return {"per_second": rate, "us": 1e6 / rate}


def map(start, workers, tasks):
    with start() as peer:
        def run(count):
            arguments = [argument(task) for task in range(count)]
            began = time.perf_counter()
            results = list(peer.in_chunks(square, arguments))
            seconds = time.perf_counter() - began
            assert results == [n * n for n in arguments]
            return count / seconds

        run(WARM_UP)
        rate = run(int(tasks))
        return {"per_second": rate, "ns": 1e9 / rate}


def round_trip(start, workers, tasks):
    with start() as peer:
        times = []
        for task in range(WARM_UP // 2 + int(tasks)):
            n = argument(task)
            began = time.perf_counter()
            result = peer.call(square, n)
            times.append(time.perf_counter() - began)
            assert result == n * n
        times = sorted(times[WARM_UP // 2:])
        at = {percent: times[len(times) * percent // 100] * 1e6 for percent in (50, 90, 99)}
        return {"p50_us": at[50], "p90_us": at[90], "p99_us": at[99]}


def bytes(start, workers, size):
    size = int(size)
    value = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with start() as peer:
        def message():
            result = peer.call(echo, value)
            assert len(result) == size and result[:1] == value[:1] and result[-1:] == value[-1:]
            return result

        assert message() == value
        message()
        count = 0
        began = time.perf_counter()
        while count < 5 or time.perf_counter() - began < BYTES_TIME:
            message()
            count += 1
        return {"mb_per_second": count * size / (time.perf_counter() - began) / 1e6}


def start(start, workers, socket):
    began = time.perf_counter()
    with start() as peer:
        pids = list(peer.at_once(wait_for_all, [socket] * workers))
        seconds = time.perf_counter() - began
        assert len(set(pids)) == workers
    return {"ms": seconds * 1e3}


def burning(start, workers, tasks, ms, long=1):
    """Compared with a loop in this process, which runs the same tasks just before."""
    tasks, ms, long = int(tasks), float(ms), int(long)
    rounds = round(rounds_per_ms() * ms)
    arguments = [rounds] * tasks
    arguments[tasks // 2] *= long
    began = time.perf_counter()
    expected = [burn(rounds) for rounds in arguments]
    serial = time.perf_counter() - began
    with start() as peer:
        list(peer.in_chunks(burn, [1] * workers))
        began = time.perf_counter()
        results = list(peer.in_chunks(burn, arguments))
        seconds = time.perf_counter() - began
        assert results == expected
    return {"seconds": seconds, "speed_up": serial / seconds}


def calls_of_burn(start, workers, tasks, rounds, call):
    """In chunks by `map`, or one by one."""
    tasks, rounds = int(tasks), int(rounds)
    expected = burn(rounds)
    with start() as peer:
        run = peer.in_chunks if call == "map" else peer.one_by_one
        list(peer.one_by_one(burn, [1] * 64))
        began = time.perf_counter()
        results = list(run(burn, [rounds] * tasks))
        seconds = time.perf_counter() - began
        assert results == [expected] * tasks
    return {"seconds": seconds}


def cold(start, workers):
    with start() as peer:
        print(peer.call(square, 5))


def lines(start, workers, chunk):
    """Reads JSON lines and prints their squares."""
    with start() as peer:
        inputs = (json.loads(line) for line in sys.stdin)
        for result in peer.pool.imap(square, inputs, int(chunk)):
            sys.stdout.write(json.dumps(result) + "\n")
        # Nothing but the results is to be printed.
        sys.stdout.flush()
