"""Coroutine functions that check their arguments when they are called, not awaited."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ["coroutine_function"]

F = TypeVar("F", bound=Callable[..., Any])


async def _coroutine() -> None:
    """Has the code of a coroutine."""


class _CoroutineFunction:
    """A plain function that returns a coroutine, and that `inspect` takes for an `async def`.

    It asks a function, or what has the attributes of one, for the flags of its code.
    """

    __code__ = _coroutine.__code__
    __defaults__ = None
    __kwdefaults__ = None

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __get__(self, instance: object, owner: type) -> object:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def coroutine_function(function: F) -> F:
    """Mark a function that returns a coroutine as a coroutine function.

    Who calls functions of others awaits only those (FastAPI's background tasks). From CPython 3.12
    on `inspect.markcoroutinefunction` does that.
    """
    return cast("F", _CoroutineFunction(function))
