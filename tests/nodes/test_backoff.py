"""How long a node waits before it tries again, and after which exceptions it does."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from flowevents import (
    AsyncNode,
    AsyncParallelBatchNode,
    BatchNode,
    Node,
    NodeEnd,
    Retry,
    StreamNode,
    backoff,
)
from flowevents.testing import ManualClock
from tests.nodes.words import Streams
from tests.watching import Way


class Fails(Node):
    """Fails with these, one after the other."""

    def __init__(self, *errors: Exception, **options: Any) -> None:
        super().__init__(max_retries=len(errors), **options)
        self.errors = errors

    def exec(self, prep_res: Any) -> None:
        raise self.errors[self.cur_retry]


class Override(Fails):
    """The same, through PocketFlow's private method."""

    def _exec(self, prep_res: Any) -> Any:
        return super()._exec(prep_res)


class AsyncFails(Fails, AsyncNode):
    async def exec_async(self, prep_res: Any) -> None:
        self.exec(prep_res)


class AsyncOverride(AsyncFails):
    async def _exec(self, prep_res: Any) -> Any:
        return await AsyncNode._exec(self, prep_res)


def test_a_function_says_how_long_to_wait(streams: Streams) -> None:
    """It gets the attempt that failed, from 1, and its error; the `Retry` says it."""
    asked: list[tuple[int, str]] = []

    def wait(attempt: int, error: Exception) -> float:
        asked.append((attempt, str(error)))
        return attempt * 10

    def script(prep_res: Any) -> Any:
        yield "x"
        raise ValueError(f"failed {len(asked)}")

    clock = ManualClock()
    watched = streams.watch(streams.node(script, max_retries=3, wait=wait), clock=clock)
    assert isinstance(watched.error, ValueError)
    assert asked == [(1, "failed 0"), (2, "failed 1")]
    assert clock.sleeps == [10, 20]
    assert [event.wait for event in watched.of(Retry)] == [10, 20]


@pytest.mark.parametrize("kind", [Override, AsyncOverride])
def test_inside_of_an_override_too(kind: type[Any]) -> None:
    """`super()._exec` asks the same functions."""
    asked: list[int] = []

    def wait(attempt: int, error: Exception) -> float:
        asked.append(attempt)
        return 0

    way = Way("async" if kind is AsyncOverride else "sync")
    errors = ValueError("a"), KeyError("b"), OSError("c")
    with pytest.raises(OSError, match="c"):
        way.run(kind(*errors, wait=wait))
    assert asked == [1, 2]
    with pytest.raises(KeyError, match="b"):
        way.run(kind(*errors, retry_on=ValueError))


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_what_is_no_time_to_wait_fails_the_step(seconds: float, way: Way) -> None:
    """With a text that says what was given."""
    watched = way.watch(Fails(*[ValueError("x")] * 2, wait=lambda attempt, error: seconds))
    assert isinstance(watched.error, ValueError)
    assert str(watched.error).startswith(f"wait gave {seconds!r} after attempt 1")


# -- backoff --------------------------------------------------------------------------------------


def test_a_backoff_grows() -> None:
    """By its factor, up to its maximum, however many attempts there are."""
    error = ValueError()
    wait = backoff(jitter=0)
    assert [wait(attempt, error) for attempt in (1, 2, 3, 7, 8, 5000)] == [0.5, 1, 2, 32, 60, 60]
    wait = backoff(initial=1, factor=10, maximum=500, jitter=0)
    assert [wait(attempt, error) for attempt in (1, 2, 3, 4)] == [1, 10, 100, 500]


def test_a_backoff_is_spread() -> None:
    """By up to `jitter` seconds more, never beyond the maximum."""
    wait = backoff(maximum=4)
    for attempt, least in ((1, 0.5), (2, 1), (3, 2)):
        found = {wait(attempt, ValueError()) for _ in range(200)}
        assert least <= min(found) < max(found) <= least + 0.5
    assert {wait(9, ValueError()) for _ in range(20)} == {4}


def test_a_backoff_waits_in_a_run(way: Way) -> None:
    """It is a `wait` as any other, and goes where a node is pickled."""
    wait = pickle.loads(pickle.dumps(backoff(initial=3, jitter=0)))
    clock = ManualClock()
    way.watch(Fails(*[ValueError("x")] * 3, wait=wait), clock=clock)
    assert clock.sleeps == [3, 6]


@pytest.mark.parametrize(
    "options", [{"initial": -1}, {"maximum": -1}, {"jitter": float("nan")}, {"factor": 0.5}]
)
def test_a_backoff_that_makes_no_sense_is_refused(options: dict[str, float]) -> None:
    """Before any node fails."""
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        backoff(**options)


# -- retry_on -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "retry_on",
    [
        OSError,
        (KeyError, OSError),
        lambda error: isinstance(error, OSError),
    ],
)
def test_only_some_exceptions_are_tried_again(retry_on: Any, way: Way) -> None:
    """Types, subclasses included, or what a function says; another one is the last."""
    node = Fails(TimeoutError("1"), OSError("2"), ValueError("3"), OSError("4"), retry_on=retry_on)
    watched = way.watch(node)
    assert str(watched.error) == "3"
    assert len(watched.of(Retry)) == 2
    assert [(event.status, event.attempt) for event in watched.of(NodeEnd)] == [("error", 3)]


def test_a_fallback_follows_at_once(way: Way) -> None:
    """After an exception that is not tried again."""

    class Careful(Fails):
        def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
            return f"instead of {exc}"

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            shared["result"] = exec_res

    shared: dict[str, Any] = {}
    watched = way.watch(Careful(*[ValueError("x")] * 5, wait=9, retry_on=OSError), shared)
    assert shared == {"result": "instead of x"}
    assert [(event.fallback, event.wait) for event in watched.of(Retry)] == [(True, 0)]


def test_a_class_may_say_it(way: Way) -> None:
    """As types, or as a method."""

    class Typed(Fails):
        retry_on = OSError

    class Decides(Fails):
        def retry_on(self, error: Exception) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
            return str(error) == "again"

    assert str(way.watch(Typed(OSError("1"), ValueError("2"), ValueError("3"))).error) == "2"
    assert str(way.watch(Decides(OSError("again"), OSError("no"), OSError("3"))).error) == "no"


@pytest.mark.parametrize("kind", [Node, BatchNode, StreamNode, AsyncNode, AsyncParallelBatchNode])
@pytest.mark.parametrize("wrong", ["OSError", 5, [OSError], (OSError, "x"), int, OSError("x")])
def test_what_says_nothing_of_exceptions_is_refused(kind: type[Any], wrong: Any) -> None:
    """With a text that says what may be given."""
    with pytest.raises(TypeError, match="retry_on must be types of exceptions, or a function"):
        kind(retry_on=wrong)
