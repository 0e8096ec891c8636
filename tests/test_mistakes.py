"""What a newcomer gets wrong is said, with the name of the class or node and what to do."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowevents import (
    Ask,
    AsyncNode,
    AsyncStreamNode,
    GraphError,
    Node,
    Run,
    StreamNode,
    timeline_svg,
    to_mermaid,
)


class PlainStreams(Node):
    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        yield 1


class Generates(StreamNode):
    def exec(self, prep_res: Any) -> Iterator[int]:
        yield 1


class AsyncExec(Node):
    async def exec(self, prep_res: Any) -> None:
        """Nobody awaits it."""


class SyncStream(AsyncStreamNode):
    def exec_stream(self, prep_res: Any) -> Iterator[int]:
        yield 1


class SyncExec(AsyncNode):
    def exec(self, prep_res: Any) -> int:
        return 1


class SyncPost(AsyncNode):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        """Nobody calls it."""


def run(node: Any) -> Any:
    """Run it, sync or async; close a coroutine that nobody awaits."""
    kept: dict[str, Any] = {}
    if isinstance(node, AsyncNode):
        asyncio.run(node.run_async({}))
    else:
        node.post = lambda shared, prep_res, exec_res: kept.update(exec_res=exec_res)
        node.run({})
    if inspect.iscoroutine(kept.get("exec_res")):
        kept["exec_res"].close()


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (PlainStreams, "PlainStreams has exec_stream, but is no StreamNode"),
        (Generates, "Generates has a generator as exec: call it exec_stream"),
        (AsyncExec, "AsyncExec has an async exec: derive it from AsyncNode"),
        (SyncExec, "SyncExec has exec, but is async: it runs exec_async"),
        (SyncPost, "SyncPost has post, but is async: it runs post_async"),
        (SyncStream, "SyncStream has exec_stream, but its class streams exec_stream_async"),
    ],
)
def test_a_method_that_is_not_called_is_warned_of(
    cls: type, text: str, recwarn: pytest.WarningsRecorder
) -> None:
    """Once per class; what the node does stays as it is."""
    own = type(cls.__name__, (cls,), {})
    with pytest.warns(RuntimeWarning, match=text):
        run(own())
    run(own())
    assert [each for each in recwarn if text in str(each.message)] == []


def test_an_override_of_a_private_method_knows_what_it_does() -> None:
    """As where a program for pocketflow streams by itself."""

    class Own(PlainStreams):
        def _exec(self, prep_res: Any) -> Any:
            return list(self.exec_stream(prep_res))

    run(Own())


class AsyncStream(StreamNode):
    async def exec_stream(self, prep_res: Any) -> AsyncIterator[int]:  # type: ignore[override]
        yield 1


class Returns(AsyncStreamNode):
    async def exec_stream_async(self, prep_res: Any) -> Any:  # type: ignore[override]
        return 3


class ReturnsQuestion(StreamNode):
    def exec_stream(self, prep_res: Any) -> Any:
        return Ask("Now?")


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (AsyncStream, "'AsyncStream' gave .* belongs to an AsyncStreamNode, as exec_stream_async"),
        (Returns, "'Returns' gave 3, over which nothing can iterate: it is to yield"),
        (ReturnsQuestion, "'ReturnsQuestion' gave .* yield its question"),
    ],
)
def test_a_stream_that_cannot_be_iterated_names_its_node(cls: type, text: str) -> None:
    """And says what to write instead."""
    with pytest.raises(TypeError, match=text):
        run(cls())


def test_a_choice_that_cannot_be_given_is_refused() -> None:
    """It is not of the type that answers are converted to."""
    with pytest.raises(ValueError, match="the choice '1' is not of type int"):
        Ask("Which?", choices=["1"], type=int)
    assert Ask("Which?", choices=[1, 2], type=int).check(2) == 2


@pytest.mark.parametrize("options", [{"max_steps": "10"}, {"max_steps": 2.5}, {"metadata": 3}])
def test_an_option_of_another_type_is_named(options: dict[str, Any]) -> None:
    """With what was given."""
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}={options[name]!r}: a "):
        Run(Node(), {}, **options)


def test_what_cannot_be_drawn_is_named() -> None:
    """A run is no flow, and a path no list of events."""
    with pytest.raises(GraphError, match="to_mermaid draws a flow or a node, not <Run"):
        to_mermaid(Run(Node(), {}))
    with pytest.raises(TypeError, match=r"read_events\('run.jsonl'\) gives those"):
        timeline_svg("run.jsonl")  # type: ignore[arg-type]
