"""The functions that are measured, and the arguments they get."""

import os
import socket
import time


def argument(task):
    """The argument of the task with this number: small, and not always the same."""
    return task % 1000


def square(n):
    return n * n


def echo(value):
    return value


def burn(rounds):
    """Work that only the processor limits."""
    state = 0x9E3779B9
    for _ in range(rounds):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    return state


def rounds_per_ms():
    best = 0
    for _ in range(5):
        began = time.perf_counter()
        burn(20_000)
        best = max(best, 20_000 / (time.perf_counter() - began) / 1e3)
    return best


def wait_for_all(path):
    """Connects to whoever counts, and returns when that one closes the connection."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        assert connection.recv(1) == b""
    return os.getpid()
