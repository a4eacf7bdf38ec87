"""Finds the functions that modules and files offer."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from types import ModuleType
from typing import Any, Callable, List, Optional, Tuple

from ._errors import RegistrationError
from ._registry import options_of


def import_module(name: str, directory: str) -> ModuleType:
    """Imports a module, or a file if that is what the name is of.

    A path is taken from the directory that is given: another module may have changed the current
    one. The directory of the file, or for a module the given one, becomes the first to look for other
    modules in, as it is for `python FILE` and `python -m MODULE`. What the import raises is passed
    on; `RegistrationError` is raised if there is no such module or file.
    """
    if name.endswith(".py") or os.sep in name:
        return _import_file(os.path.join(directory, name), name)
    _look_first_in(directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Another one may be missing that this one wants.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise RegistrationError(
                f"there is no module `{name}`; to serve a file, give its path, such as {name}.py"
            ) from None
        raise


Named = List[Tuple[str, Callable[..., Any]]]
"""Functions with the names that they are offered by."""


def functions_of(module: ModuleType) -> Named:
    """The functions that a module offers, in the order in which it defines them.

    These are the ones marked with `pool_worker.function`, if there are any. Otherwise those named
    in `__all__`, if it has that; and otherwise all that it defines itself under a name without a
    leading underscore. Raises `RegistrationError` if there are none.
    """
    listed = getattr(module, "__all__", None)
    named = _public_functions(module) if listed is None else _listed_functions(module, listed)
    marked = _marked_functions(module)
    known = [callee for _, callee in marked]
    marked += [(n, f) for n, f in named if options_of(f) is not None and not _is_among(f, known)]
    functions = [(_name_of(name, callee), callee) for name, callee in marked or named]
    if not functions:
        raise RegistrationError(
            f"{module.__file__ or module.__name__} has no functions to offer: define some at its "
            "top level whose names have no leading underscore"
        )
    return functions


def _name_of(name: str, callee: Callable[..., Any]) -> str:
    options = options_of(callee)
    return (options.name if options is not None else None) or name


def _marked_functions(module: ModuleType) -> Named:
    """What was marked in this module, whatever it is that was marked."""

    def is_marked_here(value: Any) -> bool:
        options = options_of(value)
        if options is None or not callable(value) or inspect.isclass(value):
            return False
        return module.__name__ in (options.module, _module_of(value))

    names = [name for name, value in vars(module).items() if is_marked_here(value)]
    return _each_once(module, names)


def _public_functions(module: ModuleType) -> Named:
    """What the module defines itself, and does not hide."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and _is_function(value)
        and _module_of(value) == module.__name__
    ]
    return _each_once(module, names)


def _each_once(module: ModuleType, names: List[str]) -> Named:
    """The functions of these names. One that has several is offered by its own, or by the first."""
    functions: Named = []
    for name in names:
        value = getattr(module, name)
        own = getattr(value, "__name__", None)
        if own in names and getattr(module, own) is value:
            name = own
        if not _is_among(value, [callee for _, callee in functions]):
            functions.append((name, value))
    return functions


def _is_among(value: Any, functions: List[Callable[..., Any]]) -> bool:
    """Whether it is one of them itself; what is only equal is another."""
    return any(callee is value for callee in functions)


def _module_of(value: Any) -> Optional[str]:
    try:
        module = getattr(value, "__module__", None)
    except Exception:
        return None
    return module if isinstance(module, str) else None


def _listed_functions(module: ModuleType, names: Any) -> Named:
    functions: Named = []
    for name in names:
        if not hasattr(module, name):
            raise RegistrationError(
                f"`__all__` of {module.__file__ or module.__name__} has `{name}`, which is not "
                "there"
            )
        value = getattr(module, name)
        if _is_function(value) or options_of(value) is not None and callable(value):
            functions.append((name, value))
    return functions


def _is_function(value: Any) -> bool:
    """Whether it is a function, or something that wraps one as a function would."""
    try:
        return inspect.isroutine(value) or (
            callable(value) and not inspect.isclass(value) and hasattr(value, "__wrapped__")
        )
    except Exception:
        # An object that stands for another may have none at this moment.
        return False


def _import_file(path: str, shown: str) -> ModuleType:
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        raise RegistrationError(f"there is no file {shown}")
    _look_first_in(os.path.dirname(real))
    name = os.path.splitext(os.path.basename(real))[0]
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == real:
        return loaded
    if loaded is not None:
        # The name is taken, as where a file is called like a module of the standard library.
        name = f"{name}_at_{os.path.dirname(real)}"
    spec = importlib.util.spec_from_file_location(name, real)
    if spec is None or spec.loader is None:
        raise RegistrationError(f"{shown} is no Python file; its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    # By its name others find what it defines, be it to pickle it.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _look_first_in(directory: str) -> None:
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
