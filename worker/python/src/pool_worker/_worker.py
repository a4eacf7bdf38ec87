"""The worker as a program of its own, or as a part of one."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
import traceback
from typing import NamedTuple, NoReturn, Optional

from . import __version__
from ._connection import Connection
from ._errors import Malformed, RegistrationError, Rejected
from ._limits import EXIT_FAILED, EXIT_PROTOCOL, EXIT_USAGE
from ._registry import Functions, register
from ._session import Session

_ADDRESS = "WORKER_ADDRESS"
_TOKEN = "WORKER_TOKEN"

_EXIT_INTERRUPTED = 130

_LAST_SECONDS = 5.0
"""Seconds for what was registered with `atexit`; a worker that was told to leave has to end."""


class Launch(NamedTuple):
    """What a master gives to the worker that it starts."""

    address: str
    token: str


_taken: Optional[Launch] = None


def take_launch() -> Optional[Launch]:
    """Takes what a master gave out of the environment, so that neither functions nor the processes
    that they start see it; `None` if there is no master.

    `serve` does so too. A program that imports much before it serves calls this first; `serve` then
    has what was taken.
    """
    global _taken
    address = os.environ.pop(_ADDRESS, None)
    token = os.environ.pop(_TOKEN, None)
    if address and token is not None:
        _taken = Launch(address, token)
    return _taken


class Worker:
    """Functions, under a name and a version that are for people.

    `functions` are functions, or a mapping of names to functions. Raises `RegistrationError` if two
    have the same name, or one has none.

    ::

        import pool_worker

        def square(n):
            "The square of n."
            return n * n

        if __name__ == "__main__":
            pool_worker.Worker([square], name="squares", version="1.0").serve()
    """

    def __init__(
        self, functions: Functions, *, name: str = "worker-python", version: str = __version__
    ) -> None:
        self.functions = register(functions)
        self.name = name
        self.version = version

    def serve(self) -> NoReturn:
        """Serves the master that started this process, and then ends the process.

        It never returns. Where no master started the process, it says so on standard error and
        exits with status 2. Call it in the main thread, early: until it is called, the master
        waits, by default for 10 seconds at most.

        Exit statuses: 0 asked to leave, or the master is gone; 1 a last call or the initializer
        failed; 2 there is no master, or the functions do not fit the hello; 76 the master cannot be
        connected to, refused the worker or broke the protocol. What a handler of signals raises
        between two calls ends the worker as it would end a program. What was registered with
        `atexit` is run, for 5 seconds at most; threads that still run are not waited for.
        """
        launch = take_launch()
        if launch is None:
            self._complain(
                f"this is a worker, to be started by a master, which sets {_ADDRESS} and {_TOKEN}; "
                "one of them is missing"
            )
            leave(EXIT_USAGE)
        _write_lines_at_once()
        status = EXIT_PROTOCOL
        connection: Optional[Connection] = None
        try:
            connection = self._connect(launch)
            if connection is not None:
                session = Session(connection, self.functions)
                status = session.run(launch.token, self.name, self.version)
        except Malformed as error:
            self._complain(f"the master broke the protocol: {error}")
            status = EXIT_PROTOCOL
        except Rejected as error:
            self._complain(f"the master refused this worker: {error}")
            status = EXIT_PROTOCOL
        except RegistrationError as error:
            self._complain(str(error))
            status = EXIT_USAGE
        except KeyboardInterrupt:
            status = _EXIT_INTERRUPTED
        except SystemExit as error:
            status = _status_of(error)
        except BaseException:
            traceback.print_exc()
            status = EXIT_FAILED
        if status == EXIT_PROTOCOL and connection is not None:
            # What else the master says is of no interest.
            connection.close()
        leave(status)

    def _connect(self, launch: Launch) -> Optional[Connection]:
        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            self._complain("this system has no Unix sockets, or Python does not know them")
            return None
        connected = socket.socket(family, socket.SOCK_STREAM)
        # Whatever default the functions' modules have set when they were imported.
        connected.settimeout(None)
        try:
            connected.connect(launch.address)
        except OSError as error:
            self._complain(f"cannot connect to the master at {launch.address}: {error}")
            return None
        return Connection(connected)

    def _complain(self, text: str) -> None:
        complain(f"{self.name}: {text}")


def serve(
    functions: Functions, *, name: str = "worker-python", version: str = __version__
) -> NoReturn:
    """Serves functions to the master that started this process; see `Worker`."""
    take_launch()
    Worker(functions, name=name, version=version).serve()


def complain(text: str) -> None:
    """Says something to people."""
    try:
        print(text, file=sys.stderr, flush=True)
    except Exception:
        # With standard error gone there is nobody left to tell.
        pass


def _status_of(error: SystemExit) -> int:
    """The status that the interpreter would exit with."""
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    complain(str(error.code))
    return EXIT_FAILED


def leave(status: int) -> NoReturn:
    """Ends the process, whatever threads still run, but not before handlers had their chance.

    The socket stays open meanwhile: a master that sees it close may kill what is left.
    """
    late = threading.Timer(_LAST_SECONDS, os._exit, (status,))
    late.daemon = True
    try:
        late.start()
        # Otherwise done before the handlers, one of which waits for it in vain.
        processes = sys.modules.get("concurrent.futures.process")
        getattr(processes, "_python_exit", lambda: None)()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def _write_lines_at_once() -> None:
    """A pipe gets what is printed when a buffer is full, unless told otherwise."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    try:
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    except ValueError:
        # The module has closed it.
        pass
