"""Python functions as workers of a process pool.

A master starts this process, connects to it over a socket of its own, and calls functions by name.
This package is the worker's side: the command `worker-python` serves the functions of modules and
files, and `serve` those of a program that has more to do. It starts no processes itself.

While a function runs it may call `progress`, `is_cancelled`, `slot` and `pool_name`. An exception
that it raises is the error of its item; `Failure`, `Cancelled` and `InvalidArguments` are there for
those that want a say in what kind of error it is.
"""

__version__ = "0.1.0"

from ._callables import call_pickled
from ._context import is_cancelled, pool_name, progress, slot
from ._errors import Cancelled, Failure, InvalidArguments, InvalidResult, RegistrationError
from ._registry import function
from ._worker import Launch, Worker, serve, take_launch

__all__ = [
    "Cancelled",
    "Failure",
    "InvalidArguments",
    "InvalidResult",
    "Launch",
    "RegistrationError",
    "Worker",
    "call_pickled",
    "function",
    "is_cancelled",
    "pool_name",
    "progress",
    "serve",
    "slot",
    "take_launch",
]
