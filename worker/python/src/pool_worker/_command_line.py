"""The command `worker-python`."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Tuple

from . import __version__
from ._callables import call_pickled
from ._conformance import FUNCTIONS as CONFORMANCE_FUNCTIONS
from ._errors import Failure, RegistrationError
from ._limits import EXIT_FAILED, EXIT_NORMAL, EXIT_USAGE
from ._modules import functions_of, import_module
from ._notation import OutOfRange, read_argument, result_text
from ._registry import Function, register_named
from ._worker import Worker, complain, leave, take_launch

_NAME = "worker-python"

_USAGE = f"""\
{_NAME} {__version__}: serves Python functions to a master that starts it

Usage:
  master map --worker '{_NAME} MODULE_OR_FILE...' FUNCTION [INPUT]...
      start workers, and call a function on every input
  {_NAME} MODULE_OR_FILE... call FUNCTION [ARG]...
      run one function in place, such as: {_NAME} tasks.py call square 5
      each ARG is JSON if it parses as JSON, else a string
  {_NAME} --help | --version

Offered are the functions of each module that are marked with @pool_worker.function; if none is,
those of its __all__; and without that, all that it defines whose names have no leading underscore.

Options, before the modules:
  --conformance  offer the functions of a conformance check as well, in the place of any others of
                 their names; needs no module
  --callables    offer `call_pickled`, which runs whatever code it is sent; needs no module
"""


class _Arguments(NamedTuple):
    modules: List[str]
    conformance: bool
    callables: bool
    call: Optional[List[str]]


class _UsageError(Exception):
    pass


def main() -> NoReturn:
    """Runs the command, and ends the process."""
    # First of all: what is imported later must not see it.
    launch = take_launch()
    words = sys.argv[1:]
    if words[:1] == ["--help"] or words[:1] == ["-h"]:
        print(_USAGE, end="")
        leave(EXIT_NORMAL)
    if words[:1] == ["--version"]:
        print(f"{_NAME} {__version__}")
        leave(EXIT_NORMAL)
    try:
        arguments = _parse(words)
    except _UsageError as error:
        # Whoever started a master has no use for how to start one.
        complain(f"{_NAME}: {error}" + (f"\n\n{_USAGE}" if launch is None else ""))
        leave(EXIT_USAGE)
    worker = _load(arguments)
    if arguments.call is not None:
        leave(_call(worker.functions, arguments.call))
    if launch is None:
        complain(f"{_USAGE}\n{_list(worker.functions)}")
        leave(EXIT_USAGE)
    worker.serve()


def _parse(words: List[str]) -> _Arguments:
    options = {"--conformance": False, "--callables": False}
    modules: List[str] = []
    call: Optional[List[str]] = None
    for number, word in enumerate(words):
        if word == "call":
            call = words[number + 1 :]
            if not call:
                raise _UsageError("`call` needs the name of a function")
            break
        if word in options:
            options[word] = True
        elif word.startswith("-"):
            raise _UsageError(f"there is no option {word}")
        else:
            modules.append(word)
    if not modules and not any(options.values()):
        raise _UsageError(
            f"there is no module or file to serve; give one or more, such as `{_NAME} tasks.py`"
        )
    return _Arguments(modules, options["--conformance"], options["--callables"], call)


def _load(arguments: _Arguments) -> Worker:
    """Imports the modules. Complains, and ends the process, if they cannot be served."""
    functions: List[Tuple[Optional[str], Callable[..., Any]]] = []
    directory = _current_directory()
    for name in arguments.modules:
        try:
            functions += functions_of(import_module(name, directory))
        except RegistrationError as error:
            complain(f"{_NAME}: {error}")
            leave(EXIT_USAGE)
        except BaseException as error:
            # The frames of this package and of the import are of no use to whoever reads it.
            traceback.print_exception(type(error), error, _inside(error))
            complain(f"{_NAME}: cannot import {name}: {type(error).__name__}: {error}")
            leave(EXIT_FAILED)
    try:
        if arguments.callables:
            functions.append((None, call_pickled))
        worker = Worker([], name=_NAME)
        worker.functions = register_named(functions)
        if arguments.conformance:
            worker.functions.update(register_named(CONFORMANCE_FUNCTIONS))
    except RegistrationError as error:
        complain(f"{_NAME}: {error}")
        leave(EXIT_USAGE)
    return worker


def _current_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        # It was removed, and modules may be found elsewhere.
        return os.curdir


def _inside(error: BaseException) -> Any:
    """The traceback from the first frame on that is neither of this package nor of the import."""
    trace = error.__traceback__
    while trace is not None and (
        trace.tb_frame.f_globals.get("__package__") in (__package__, "importlib")
        or "importlib" in trace.tb_frame.f_code.co_filename
    ):
        trace = trace.tb_next
    return trace


def _list(functions: Dict[str, Function]) -> str:
    """The functions with their help, a line each."""
    lines = [
        (f"{name}{function.parameters}", function.help) for name, function in functions.items()
    ]
    width = max(len(signature) for signature, _ in lines)
    return "\n".join(
        ["Functions:", *(f"  {signature:{width}}  {help}".rstrip() for signature, help in lines)]
    )


def _call(functions: Dict[str, Function], words: List[str]) -> int:
    """Runs one function in place, prints its result, and gives the status to exit with."""
    name, *rest = words
    function = functions.get(name)
    if function is None:
        complain(f"{_NAME}: there is no function `{name}`\n\n{_list(functions)}")
        return EXIT_USAGE
    if function.raw or function.callee is call_pickled:
        complain(f"{_NAME}: `{name}` works on encoded values, which cannot be given here")
        return EXIT_USAGE
    try:
        result = function.bind_and_call([read_argument(word) for word in rest], {})
        print(result_text(result), flush=True)
    except OutOfRange as error:
        complain(f"{_NAME}: {error}")
        return EXIT_USAGE
    except Failure as error:
        complain(f"{error.kind}: {error}")
        return EXIT_FAILED
    except BaseException as error:
        traceback.print_exception(type(error), error, _inside(error))
        return EXIT_FAILED
    return EXIT_NORMAL
