"""Functions that a worker offers: what is said about each, and how its arguments are bound."""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
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
    """What the decorator `function` was told, and the module in which it was."""

    name: Optional[str] = None
    progress: bool = False
    cancel: bool = False
    raw: bool = False
    module: Optional[str] = None


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

    module = sys._getframe(1).f_globals.get("__name__")

    def mark(callee: Callee) -> Callee:
        setattr(callee, _MARK, Options(name, progress, cancel, raw, module))
        return callee

    return mark if marked is None else mark(marked)


def options_of(callee: object) -> Optional[Options]:
    """What the decorator was told about a function; `None` if it is not marked."""
    try:
        options = getattr(callee, _MARK, None)
    except Exception:
        # An object that stands for another may have none at this moment.
        return None
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
        # What has to fit, and what is written at the function that is wrapped, if one is.
        self._signature = None if self.raw else _signature(callee, False)
        self._apparent = self._signature
        if not self.raw and inspect.isfunction(callee) and hasattr(callee, "__wrapped__"):
            self._apparent = _signature(callee, True)
        self.parameters = _describe(self._apparent)
        # Positional arguments of a number from `least` to `most` always fit, so the hot path need
        # not bind them.
        least, most = zip(_positional_range(self._signature), _positional_range(self._apparent))
        self.least, self.most = max(least), min(most)
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
        problem = _misfit(self._signature, positional, keywords)
        if problem is not None:
            raise self._unfit(problem)
        # A decorator may give arguments of its own, or take some away.
        problem = None
        if self._apparent is not self._signature:
            problem = _misfit(self._apparent, positional, keywords)
        if problem is None:
            return self.call(*positional, **keywords)
        try:
            return self.call(*positional, **keywords)
        except TypeError as error:
            if _has_entered(error, self.callee):
                raise
            raise self._unfit(problem) from None

    def _unfit(self, problem: TypeError) -> InvalidArguments:
        return InvalidArguments(
            f"the arguments do not fit `{self.name}{self.parameters}`: {problem}"
        )

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
        return register_named(functions.items())
    return register_named((None, callee) for callee in functions)


def register_named(
    functions: Iterable[Tuple[Optional[str], Callable[..., Any]]],
) -> Dict[str, Function]:
    """Gives functions by the names that they are to have, or without one by their own. Raises
    `RegistrationError` if two have the same."""
    registered: Dict[str, Function] = {}
    for name, callee in functions:
        added = Function(callee, name)
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
    if not inspect.iscoroutinefunction(_innermost(callee)):
        return callee
    # Slow to import, and most functions do without.
    import asyncio

    @functools.wraps(callee)
    def run(*positional: Any, **keywords: Any) -> Any:
        result = callee(*positional, **keywords)
        # A decorator may have run it.
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    return run


def _innermost(callee: Callable[..., Any]) -> Callable[..., Any]:
    """The function that is wrapped, or the one itself."""
    try:
        innermost: Callable[..., Any] = inspect.unwrap(callee)
    except Exception:
        return callee
    return innermost


def _has_entered(error: BaseException, callee: Callable[..., Any]) -> bool:
    """Whether an exception comes from inside of the function that is wrapped."""
    code = getattr(_innermost(callee), "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def _misfit(
    signature: Optional[inspect.Signature], positional: List[Any], keywords: Mapping[Any, Any]
) -> Optional[TypeError]:
    if signature is None:
        return None
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        return error
    return None


def _first_line(callee: object) -> str:
    # An object without a name of its own has the documentation of its class.
    text = (inspect.getdoc(callee) or "") if hasattr(callee, "__name__") else ""
    line = text.strip().split("\n", 1)[0].strip()
    return line.encode("utf-8", "replace").decode("utf-8")


def _signature(callee: Callable[..., Any], apparent: bool) -> Optional[inspect.Signature]:
    """The parameters of a function; if it wraps another, its own or the apparent ones."""
    options: Dict[str, Any] = {"follow_wrapped": apparent or not inspect.isfunction(callee)}
    if sys.version_info >= (3, 14):
        import annotationlib

        # To evaluate them takes names that may be there for a checker of types alone.
        options["annotation_format"] = annotationlib.Format.STRING
    try:
        return inspect.signature(callee, **options)
    except Exception:
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
