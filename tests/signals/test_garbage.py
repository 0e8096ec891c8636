"""A handler that refers to what it listens to goes with it; nothing is kept of what is undone."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from flowevents import AsyncFlow, Chunk, Flow, Run, StreamNode, observe, signals
from flowevents.signals import audiences


class Talk(StreamNode):
    """Yields two chunks, and can be a handler itself."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield "a"
        yield "b"

    def listen(self, event: Chunk) -> None:
        self.heard.append(event.data)


def method(sender: Any) -> Callable[[Chunk], None]:
    """A method that is bound to its sender."""
    return Listener(sender).listen


def closure(sender: Any) -> Callable[[Chunk], None]:
    """A function that closes over its sender."""

    def handler(event: Chunk) -> None:
        assert sender

    return handler


class Listener:
    """An object that has its sender as an attribute."""

    def __init__(self, sender: Any) -> None:
        self.sender = sender

    def listen(self, event: Chunk) -> None:
        """Hear nothing."""


MAKE: dict[str, Callable[[], Any]] = {
    "node": Talk,
    "flow": lambda: Flow(Talk()),
    "run": lambda: Run(Talk(), {}),
    "run with observers": lambda: Run(Talk(), {}, observers=[Listener(None).listen]),
}


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("handler_of", [method, closure])
def test_a_handler_that_refers_to_its_sender_goes_with_it(
    make: str, handler_of: Callable[[Any], Callable[[Chunk], None]]
) -> None:
    """Nothing else holds either, whether it was connected or observes."""
    sender = MAKE[make]()
    handler = handler_of(sender)
    signals.chunk.connect(handler, sender=sender)
    observe(handler, sender=sender)
    references = [weakref.ref(sender), weakref.ref(handler)]
    del sender, handler
    gc.collect()
    assert [each() for each in references] == [None, None]
    assert not signals.chunk.receivers


def test_a_node_that_listens_to_itself_goes() -> None:
    """After it ran, too, alone and as a copy in a flow."""
    node = Talk()
    signals.chunk.connect(node.listen, sender=node)
    node.run({})
    Flow(node).run({})
    assert node.heard == ["a", "b", "a", "b"]
    reference = weakref.ref(node)
    del node
    gc.collect()
    assert reference() is None


LEAVE: dict[str, Callable[[Run], Any]] = {
    "ready": lambda run: None,
    "under way": lambda run: next(iter(run)),
    "ended": Run.wait,
}


@pytest.mark.parametrize("leave", LEAVE)
def test_a_run_whose_handler_refers_to_it_goes(leave: str) -> None:
    """Before it began, in the middle of it and after its end."""
    before = audiences()
    run = Run(Talk(), {})
    signals.chunk.connect(closure(run), sender=run)
    LEAVE[leave](run)
    reference = weakref.ref(run)
    del run
    gc.collect()
    assert reference() is None
    assert audiences() == before


class Fails(Talk):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        raise ValueError("broken")


@pytest.mark.parametrize("kind", [Talk, Fails])
@pytest.mark.parametrize("how", ["wait", "wait_async", "pull"])
def test_a_run_that_has_ended_keeps_no_handler_and_no_observer(how: str, kind: Any) -> None:
    """While somebody still has the run."""

    class Observer:
        def on_chunk(self, event: Chunk) -> None: ...

    observer, listener = Observer(), Listener(None)
    run = Run(AsyncFlow(kind()) if how != "wait" else kind(), {}, observers=[observer])
    signals.chunk.connect(listener.listen, sender=run)
    references: list[Any] = [weakref.ref(observer), weakref.ref(listener)]
    del observer, listener

    async def pull() -> None:
        async for _ in run:
            pass

    with suppress(ValueError):
        if how == "wait":
            run.wait()
        else:
            asyncio.run(run.wait_async() if how == "wait_async" else pull())
    assert run.status in ("done", "failed")
    if run.error is not None:
        run.error.__traceback__ = None  # it knows the engine's frames
    gc.collect()
    assert [each() for each in references] == [None, None]


@pytest.mark.parametrize("sender", [signals.ANY, "Talk", Talk], ids=["any", "path", "class"])
def test_a_handler_that_is_disconnected_is_let_go(sender: Any) -> None:
    """Whoever has looked it up before: a run, or what was sent by hand."""
    node, handler = Talk(), Listener(None)
    signals.chunk.connect(handler.listen, sender=sender)
    node.run({})
    signals.chunk.send(Chunk(run_id="r", seq=3, time=0.0, span=2, node="Talk", data="x"))
    signals.chunk.disconnect(handler.listen, sender=sender)
    reference = weakref.ref(handler)
    del handler
    assert reference() is None


def pickled(node: Talk) -> Talk:
    """The node, as another process gets it."""
    made: Talk = pickle.loads(pickle.dumps(node))
    return made


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_deep_copy_is_another_node(copied: Callable[[Talk], Talk]) -> None:
    """What is connected to a node is neither copied nor pickled with it, and hears it alone."""
    node = Talk()
    heard: list[Any] = []
    signals.chunk.connect(lambda event: heard.append(event.data), sender=node)
    other = copied(node)
    other.run({})
    assert heard == []
    assert not signals.chunk.has_receivers_for(other)
    node.run({})
    assert heard == ["a", "b"]
