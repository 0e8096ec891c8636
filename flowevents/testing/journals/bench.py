"""The handles that a case works with, and how it compares what they give."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from secrets import token_hex
from typing import Any, Final, TypeVar

from flowevents.journal.journal import Journal
from flowevents.testing.journals.script import Script

__all__ = ["PATIENCE", "Bench", "equal", "raises", "together"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

PATIENCE: Final = 30.0
"""Seconds after which a case that waits has failed; nothing is expected to take that long."""


class Bench:
    """What a case gets.

    Attributes:
        one, two: Handles to the store; those of two processes, as it were.
        others: Two more.
    """

    def __init__(self, open: Callable[[], Journal]) -> None:
        self.one: Final = open()
        self.two: Final = open()
        self.others: Final = (open(), open())

    def close(self) -> None:
        """Close all of them."""
        for each in (self.one, self.two, *self.others):
            each.close()

    @property
    def all(self) -> tuple[Journal, ...]:
        """All handles."""
        return (self.one, self.two, *self.others)

    def new_id(self) -> str:
        """An id that no run has."""
        return f"check-{token_hex(8)}"

    def begin(self) -> tuple[Script, str]:
        """A run that has begun, by `one`; and its id."""
        run_id = self.new_id()
        return Script(self.one, run_id), run_id

    def begin_step(self) -> tuple[Script, str]:
        """The same, with its first step begun."""
        script, run_id = self.begin()
        script.begin_step()
        return script, run_id


def equal(found: object, expected: object, what: str) -> None:
    """Raise `AssertionError` where they differ."""
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}.")


def raises(kind: type[E], call: Callable[[], object], *words: str) -> E:
    """The error of that kind that a call raises, whose text has these words.

    Raises `AssertionError` where it raises none.
    """
    try:
        result = call()
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        equal(missing, [], f"Words that are missing in {str(error)!r}")
        return error
    raise AssertionError(f"It gave {result!r}, and raised no {kind.__name__}.")


def together(*calls: Callable[[], object]) -> list[Any]:
    """What the calls give or raise, each in a thread of its own, begun at the same time."""
    results: list[Any] = [TimeoutError("It did not return.")] * len(calls)
    barrier = threading.Barrier(len(calls))

    def work(number: int) -> None:
        barrier.wait(PATIENCE)
        try:
            results[number] = calls[number]()
        except Exception as error:
            results[number] = error

    threads = [
        threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(calls))
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)
    return results


def in_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives, in a loop of its own in a thread of its own: here may be a loop."""
    result: list[T] = []
    (error,) = together(lambda: result.append(asyncio.run(coroutine)))
    if error is not None:
        raise error
    return result[0]


def kinds(values: Iterable[object]) -> list[str]:
    """The names of their types."""
    return [type(each).__name__ for each in values]
