"""Functions that a worker offers: what is said about each, and how its arguments are bound."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    TypeVar,
    Union,
    overload,
)

from ._errors import InvalidArguments, RegistrationError

_MARK = "__pool_worker__"

Callee = TypeVar("Callee", bound=Callable[..., Any])


class Options(NamedTuple):
    """What the decorator `function` was told."""

    name: Optional[str] = None
    progress: bool = False
    cancel: bool = False
    raw: bool = False


@overload
def function(marked: Callee) -> Callee: ...


@overload
def function(
    *,
    name: Optional[str] = ...,
    progress: bool = ...,
    cancel: bool = ...,
    raw: bool = ...,
) -> Callable[[Callee], Callee]: ...


def function(
    marked: Optional[Callee] = None,
    *,
    name: Optional[str] = None,
    progress: bool = False,
    cancel: bool = False,
    raw: bool = False,
) -> Union[Callee, Callable[[Callee], Callee]]:
    """Marks a function to be offered by the worker, and says what it can do.

    As soon as one function of a module is marked, only the marked ones are offered. The function
    itself stays as it is.

    - `name`: the name to call it by; without it, its own.
    - `progress`: it calls `pool_worker.progress` now and then. A master may take a long silence of
      it for a hang.
    - `cancel`: it asks `pool_worker.is_cancelled` now and then, and ends soon when it is. A master
      then tells it first, and ends the process only if that does not help.
    - `raw`: it works on encoded values. It is called with its positional arguments, one MessagePack
      array as `bytes`, and with its keyword arguments, one MessagePack map as `bytes`, or `None`;
      and gives one MessagePack value as `bytes`.
    """

    def mark(callee: Callee) -> Callee:
        setattr(callee, _MARK, Options(name, progress, cancel, raw))
        return callee

    return mark if marked is None else mark(marked)


def options_of(callee: object) -> Optional[Options]:
    """What the decorator was told about a function; `None` if it is not marked."""
    options = getattr(callee, _MARK, None)
    return options if isinstance(options, Options) else None


class Function:
    """A function under the name that it is offered by."""

    def __init__(self, callee: Callable[..., Any], name: Optional[str] = None) -> None:
        options = options_of(callee) or Options()
        chosen = name or options.name or getattr(callee, "__name__", "")
        if not isinstance(chosen, str) or not chosen:
            raise RegistrationError(
                f"{callee!r} has no name to be called by; give a mapping of names to functions"
            )
        if any("\ud800" <= character <= "\udfff" for character in chosen):
            raise RegistrationError(f"the name {chosen!r} cannot be sent, as it has no UTF-8")
        self.name: str = chosen
        self.callee = callee
        self.progress = options.progress
        self.cancel = options.cancel
        self.raw = options.raw
        self.help = _first_line(callee)
        self._signature = None if self.raw else _signature(callee)
        self.parameters = _describe(self._signature)
        # Positional arguments of a number from `least` to `most` always fit, so the hot path need
        # not bind them.
        self.least, self.most = _positional_range(self._signature)
        self.call: Callable[..., Any] = _as_plain(callee)

    def bind_and_call(self, positional: List[Any], keywords: Mapping[Any, Any]) -> Any:
        """Calls the function. Raises `InvalidArguments` if the arguments do not fit it.

        They are bound before, so that a `TypeError` of the function itself is not taken for that.
        """
        for key in keywords:
            if not isinstance(key, str):
                raise InvalidArguments(
                    f"a keyword argument of `{self.name}{self.parameters}` has the name {key!r}, "
                    "which is not a string"
                )
        if self._signature is not None:
            try:
                self._signature.bind(*positional, **keywords)
            except TypeError as error:
                raise InvalidArguments(
                    f"the arguments do not fit `{self.name}{self.parameters}`: {error}"
                ) from None
        return self.call(*positional, **keywords)

    def description(self, with_help: bool, with_parameters: bool) -> Dict[str, object]:
        """The map that the hello has for it."""
        fields: Dict[str, object] = {"name": self.name}
        if with_parameters and self.parameters:
            fields["parameters"] = self.parameters
        if with_help and self.help:
            fields["help"] = self.help
        if self.progress:
            fields["progress"] = True
        if self.cancel:
            fields["cancel"] = True
        return fields


Functions = Union[Mapping[str, Callable[..., Any]], Iterable[Callable[..., Any]]]


def register(functions: Functions) -> Dict[str, Function]:
    """Gives the functions by name. Raises `RegistrationError` if two have the same."""
    if isinstance(functions, Mapping):
        return {name: Function(callee, name) for name, callee in functions.items()}
    registered: Dict[str, Function] = {}
    for callee in functions:
        added = Function(callee)
        other = registered.get(added.name)
        if other is not None and other.callee is not callee:
            raise RegistrationError(
                f"two functions have the name `{added.name}`: {origin(other.callee)} and "
                f"{origin(callee)}; give one of them another with @pool_worker.function(name=...)"
            )
        registered[added.name] = added
    return registered


def origin(callee: object) -> str:
    """Where a function comes from, for people."""
    module = sys.modules.get(getattr(callee, "__module__", None) or "")
    name = getattr(callee, "__qualname__", repr(callee))
    if module is None:
        return f"`{name}`"
    return f"`{name}` of {getattr(module, '__file__', None) or module.__name__}"


def _as_plain(callee: Callable[..., Any]) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(callee):
        return callee
    # Slow to import, and most functions do without.
    import asyncio

    @functools.wraps(callee)
    def run(*positional: Any, **keywords: Any) -> Any:
        return asyncio.run(callee(*positional, **keywords))

    return run


def _first_line(callee: object) -> str:
    # An object without a name of its own has the documentation of its class.
    text = (inspect.getdoc(callee) or "") if hasattr(callee, "__name__") else ""
    line = text.strip().split("\n", 1)[0].strip()
    return line.encode("utf-8", "replace").decode("utf-8")


def _signature(callee: Callable[..., Any]) -> Optional[inspect.Signature]:
    try:
        return inspect.signature(callee)
    except (TypeError, ValueError):
        # Some of those that are written in C have none.
        return None


def _describe(signature: Optional[inspect.Signature]) -> str:
    if signature is None:
        return "(...)"
    words: List[str] = []
    named_only = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            words.append(f"*{parameter.name}")
            named_only = True
        elif parameter.kind is parameter.VAR_KEYWORD:
            words.append(f"**{parameter.name}")
        else:
            if parameter.kind is parameter.KEYWORD_ONLY and not named_only:
                words.append("*")
                named_only = True
            optional = "" if parameter.default is parameter.empty else "?"
            words.append(f"{parameter.name}{optional}")
    return f"({', '.join(words)})"


def _positional_range(signature: Optional[inspect.Signature]) -> Tuple[int, int]:
    """The least and the most positional arguments that fit alone; an empty range if none do."""
    if signature is None:
        return 0, sys.maxsize
    least = most = 0
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = sys.maxsize
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if required:
                return 1, 0
        elif parameter.kind is not parameter.VAR_KEYWORD:
            least += required
            most += 1
    return least, most
