"""Finds the functions that modules and files offer."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from types import ModuleType
from typing import Any, Callable, Dict, List

from ._errors import RegistrationError
from ._registry import options_of


def import_module(name: str) -> ModuleType:
    """Imports a module, or a file if that is what the name is of.

    The directory of the file, or for a module the current one, becomes the first to look for other
    modules in, as it is for `python FILE` and `python -m MODULE`. What the import raises is passed
    on; `RegistrationError` is raised if there is no such module or file.
    """
    if name.endswith(".py") or os.sep in name:
        return _import_file(name)
    _look_first_in(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Another one may be missing that this one wants.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise RegistrationError(
                f"there is no module `{name}`; to serve a file, give its path, such as {name}.py"
            ) from None
        raise


def functions_of(module: ModuleType) -> List[Callable[..., Any]]:
    """The functions that a module offers, in the order in which it defines them.

    These are the ones marked with `pool_worker.function`, if there are any. Otherwise those named
    in `__all__`, if it has that; and otherwise all that it defines itself under a name without a
    leading underscore. Raises `RegistrationError` if there are none.
    """
    listed = getattr(module, "__all__", None)
    own = _own_functions(module)
    marked = [callee for callee in own.values() if options_of(callee) is not None]
    if listed is not None:
        named = _listed_functions(module, listed)
        marked += [callee for callee in named if options_of(callee) and callee not in marked]
    else:
        named = [callee for name, callee in own.items() if not name.startswith("_")]
    functions = marked or named
    if not functions:
        raise RegistrationError(
            f"{module.__file__ or module.__name__} has no functions to offer: define some at its "
            "top level whose names have no leading underscore"
        )
    return functions


def _own_functions(module: ModuleType) -> Dict[str, Callable[..., Any]]:
    return {
        name: value
        for name, value in vars(module).items()
        if _is_function(value) and value.__module__ == module.__name__
    }


def _listed_functions(module: ModuleType, names: Any) -> List[Callable[..., Any]]:
    functions = []
    for name in names:
        if not hasattr(module, name):
            raise RegistrationError(
                f"`__all__` of {module.__file__ or module.__name__} has `{name}`, which is not "
                "there"
            )
        value = getattr(module, name)
        if _is_function(value):
            functions.append(value)
    return functions


def _is_function(value: Any) -> bool:
    """Whether it is a function, or something that wraps one as a function would."""
    return inspect.isroutine(value) or (
        callable(value) and not inspect.isclass(value) and hasattr(value, "__wrapped__")
    )


def _import_file(path: str) -> ModuleType:
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        raise RegistrationError(f"there is no file {path}")
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
        raise RegistrationError(f"{path} is no Python file; its name has to end in .py")
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
