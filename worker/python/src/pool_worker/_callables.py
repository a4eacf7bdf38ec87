"""Functions that travel: one that takes a pickled call and gives its pickled result."""

from __future__ import annotations

import inspect
import pickle
import sys
from typing import Any, Callable, Dict, Tuple

from ._errors import Failure, InvalidArguments


def call_pickled(data: bytes) -> bytes:
    """Runs a pickled (function, arguments, keyword arguments); gives the pickled result"""
    if not isinstance(data, bytes):
        raise InvalidArguments(
            f"`data` is to be a pickle, as binary data, not a value of type {type(data).__name__}"
        )
    function, arguments, keywords = _load(data)
    result = function(*arguments, **keywords)
    if inspect.iscoroutine(result):
        import asyncio

        result = asyncio.run(result)
    # What came with cloudpickle may give what only cloudpickle can pickle.
    pickler = sys.modules.get("cloudpickle", pickle)
    pickled: bytes = pickler.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
    return pickled


def _load(data: bytes) -> Tuple[Callable[..., Any], Tuple[Any, ...], Dict[str, Any]]:
    try:
        loaded = pickle.loads(data)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "cloudpickle":
            raise Failure(
                "the call was made with cloudpickle, which the worker does not have; install it "
                "there: pip install 'process-pool-worker[callables]'",
                kind="ModuleNotFoundError",
            ) from None
        raise
    if not (isinstance(loaded, tuple) and len(loaded) == 3 and callable(loaded[0])):
        raise InvalidArguments(
            "`data` is to be a pickled tuple of a function, a tuple of arguments and a dict of "
            "keyword arguments"
        )
    return loaded
