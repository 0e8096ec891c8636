"""What cannot work is refused at once, with a sentence that helps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from flowevents import (
    AsyncBatchFlow,
    AsyncBatchNode,
    AsyncFlow,
    AsyncNode,
    AsyncParallelBatchFlow,
    AsyncParallelBatchNode,
    AsyncStreamNode,
    BatchFlow,
    BatchNode,
    Chunk,
    Flow,
    GraphError,
    Node,
    NodeStart,
    ObserverError,
    Run,
    StreamNode,
    observe,
    on,
    queued,
    signals,
)
from flowevents.testing import NoReply, ScriptedModel
from tests.watching import in_loop

# -- handlers -------------------------------------------------------------------------------------


class Watches:
    def on_chunk(self, event: Chunk, node: str) -> None:
        """Is never called."""


class Calls:
    def __call__(self, chunk: object, node: object) -> None:
        """Is never called."""


def named_only(*, event: object) -> None:
    """Is never called."""


def needs_a_name(event: object, *, node: object) -> None:
    """Is never called."""


REFUSED: dict[str, Any] = {
    "two": lambda chunk, node: None,
    "none": lambda: None,
    "named": named_only,
    "one more": needs_a_name,
    "an object": Calls(),
    "a method": Watches().on_chunk,
    "a part": partial(lambda chunk, node, run: None, 1),
    "a whole": partial(lambda chunk: None, 1),
}

TAKEN: dict[str, Any] = {
    "one": lambda event: None,
    "any": lambda *args: None,
    "a default": lambda event, node="": None,
    "a named default": lambda event, *, node="": None,
    "of C": [].append,
    "a part": partial(lambda node, event: None, "x"),
    "print": partial(print, end=""),
}


@pytest.mark.parametrize("handler", REFUSED.values(), ids=REFUSED)
def test_a_handler_takes_one_event(handler: Any) -> None:
    """Wherever it is given, before anything runs."""
    text = "called with one argument, the event"
    with pytest.raises(ObserverError, match=text):
        signals.chunk.connect(handler)
    with pytest.raises(ObserverError, match=text):
        on(Chunk)(handler)
    with pytest.raises(ObserverError, match=text):
        Node().on(Chunk)(handler)
    with pytest.raises(ObserverError, match=text):
        observe(handler)
    with pytest.raises(ObserverError, match=text):
        Node().run({}, observers=[handler])
    with pytest.raises(ObserverError, match=text):
        queued(handler)


def test_a_method_of_an_observer_takes_one_event() -> None:
    """It is named."""
    with pytest.raises(ObserverError, match=r"Watches.on_chunk .*called with one argument"):
        observe(Watches())


@pytest.mark.parametrize("handler", TAKEN.values(), ids=TAKEN)
def test_what_can_be_called_with_an_event_is_taken(handler: Any) -> None:
    """Whatever else it could be called with."""
    Node().run({}, observers=[handler])
    with signals.chunk.connected_to(handler):
        pass


def test_a_callback_takes_a_chunk_and_a_node() -> None:
    """Which is not what a handler takes."""
    with pytest.raises(ObserverError, match="called with a chunk and a node"):
        Flow(Node()).run_stream({}, callback=lambda chunk: None)  # type: ignore[misc, arg-type]
    Flow(Node()).run_stream({}, callback=lambda chunk, node: None)
    Flow(Node()).run_stream({}, callback=print)


def test_no_observers_are_none() -> None:
    """`observers=None`, in every form of a run."""
    assert Node().run({}, observers=None) is None
    assert list(Flow(Node()).run_stream({}, observers=None)) == []
    assert Flow(Node()).run_stream({}, callback=print, observers=None) is None
    assert Run(Node(), {}, observers=None).wait() is None


# -- nodes ----------------------------------------------------------------------------------------


class AsyncPost(Node):
    async def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return "lost"


class AsyncPrep(Node):
    async def prep(self, shared: Any) -> str:
        return "lost"


class AsyncPostOfFlow(Flow):
    async def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return "lost"


class Hears(Node):
    def on_chunk(self, event: Chunk) -> None:
        """Is never called."""


class FlowHears(Flow):
    def on_node_start(self, event: NodeStart) -> None:
        """Is never called."""


class Empty(StreamNode):
    """Streams nothing."""


class AsyncEmpty(AsyncStreamNode):
    """Streams nothing."""


def hearing(flow: Any) -> Any:
    """A flow on which a handler is set."""
    flow.on_chunk = print
    return flow


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (AsyncPost(), "AsyncPost has an async post, .* AsyncNode, and call it post_async"),
        (AsyncPrep(), "AsyncPrep has an async prep, .* AsyncNode, and call it prep_async"),
        (AsyncPostOfFlow(Node()), "AsyncPostOfFlow has an async post, .* from AsyncFlow"),
        (Hears(), r"Hears has 'on_chunk', .* signals.chunk.connect\(function, sender=node\)"),
        (FlowHears(Node()), r"FlowHears has 'on_node_start', .* signals.node_start.connect"),
        (hearing(Flow(Node())), "Flow has 'on_chunk', which nothing calls"),
        (hearing(Node()), "Node has 'on_chunk', which nothing calls"),
        (Empty(), "Empty has no exec_stream: define it"),
        (AsyncEmpty(), "AsyncEmpty has no exec_stream_async: define it"),
    ],
)
def test_a_node_that_cannot_be_meant_is_refused_before_anything_runs(node: Any, text: str) -> None:
    """By itself, in a flow, and each time."""
    began: list[object] = []
    flows = [AsyncFlow(node), AsyncFlow(AsyncFlow(node))]
    for _ in range(2):
        for each in (node, *flows):
            with pytest.raises(GraphError, match=text):
                in_loop(partial(each.run_async, {}, observers=[began.append]))
        if not isinstance(node, AsyncNode):
            with pytest.raises(GraphError, match=text):
                Flow(node).run({}, observers=[began.append])
    assert began == []


def test_an_attribute_that_a_node_uses_is_its_own() -> None:
    """As in a program that passes a callback on."""
    said: list[object] = []

    class Passes(StreamNode):
        def __init__(self, on_chunk: Any) -> None:
            super().__init__()
            self.on_chunk = on_chunk

        def exec_stream(self, prep_res: Any) -> Iterator[str]:
            for text in ("a", "b"):
                (lambda each: self.on_chunk(each))(text)
                yield text

    class Named(Node):
        def on_retry(self) -> str:
            return "own"

        def exec(self, prep_res: Any) -> None:
            said.append(getattr(self, "on_retry")())  # noqa: B009 - by its name

    Flow(Passes(said.append)).run({})
    Named().run({})
    assert said == ["a", "b", "own"]


@pytest.mark.parametrize("node", [Node(), BatchNode(), StreamNode(), Flow()])
def test_a_plain_node_cannot_ask(node: Any) -> None:
    """It says who can; `hasattr` says that it has no `ask`."""
    assert not hasattr(node, "ask")
    with pytest.raises(AttributeError, match=r"cannot wait for an answer .* AskNode"):
        node.ask("Which?")
    assert hasattr(AsyncNode(), "ask")


class Unmade(Node):
    def __init__(self) -> None:
        """Forgets `super().__init__()`."""


class UnmadeFlow(Flow):
    def __init__(self) -> None:
        self.start_node = Node()


def test_a_node_that_was_not_made_says_so() -> None:
    """Wherever it is used first."""
    text = r"Its __init__ has to call super\(\).__init__\(\): see Unmade"
    for use in (
        lambda: Unmade() >> Node(),
        lambda: Node() >> Unmade(),
        lambda: Unmade() - "x" >> Node(),
        lambda: Flow(Unmade()),
        lambda: Flow().start(Unmade()),
        lambda: Unmade().run({}),
        lambda: UnmadeFlow().run({}),
        lambda: UnmadeFlow().run_stream({}),
        lambda: Run(Unmade(), {}),
    ):
        with pytest.raises(GraphError, match=text):
            use()


def test_a_chain_with_an_action_in_it_needs_parentheses() -> None:
    """Because `-` comes before `>>`."""
    a, b, c = Node(), Node(), Node()
    with pytest.raises(GraphError, match=r"put parentheses around .* - 'y' >> c"):
        a - "x" >> b >> c - "y" >> a
    a, b, c = Node(), Node(), Node()
    (a - "x" >> b >> c) - "y" >> a
    assert (a.successors, b.successors, c.successors) == ({"x": b}, {"default": c}, {"y": a})


@pytest.mark.parametrize(
    ("kind", "flow"),
    [
        (StreamNode, "StreamFlow"),
        (Node, "Flow"),
        (BatchNode, "Flow"),
        (AsyncNode, "AsyncFlow"),
        (AsyncStreamNode, "AsyncFlow"),
        (AsyncParallelBatchNode, "AsyncFlow"),
    ],
)
def test_a_node_is_no_number_of_retries(kind: Any, flow: str) -> None:
    """What was meant is a flow."""
    with pytest.raises(
        TypeError, match=rf"not the node 'Node': a .* Did you mean {flow}\(Node\)\?"
    ):
        kind(Node())
    for retries in ("3", 2.5, None):
        with pytest.raises(TypeError, match=f"must be a whole number, not {retries!r}"):
            kind(retries)


class Count(BatchNode):
    def prep(self, shared: Any) -> Any:
        return shared["items"]


class AsyncCount(AsyncBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return shared["items"]


class ParallelCount(AsyncParallelBatchNode):
    async def prep_async(self, shared: Any) -> Any:
        return shared["items"]


class Each(BatchFlow):
    def prep(self, shared: Any) -> Any:
        return shared["items"]


class AsyncEach(AsyncBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return shared["items"]


class ParallelEach(AsyncParallelBatchFlow):
    async def prep_async(self, shared: Any) -> Any:
        return shared["items"]


BATCHES = [Count, AsyncCount, ParallelCount, Each, AsyncEach, ParallelEach]


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("heard", [False, True])
def test_a_batch_has_items(kind: Any, heard: bool) -> None:
    """Its name and what it gave are said; nothing at all is no mistake."""
    prep = "prep_async" if issubclass(kind, AsyncNode) else "prep"
    flow = issubclass(kind, Flow)
    node = kind(Node()) if flow else kind()
    observers = [print] if heard else None

    def run(items: object) -> object:
        outer = AsyncFlow(node)
        return in_loop(lambda: outer.run_async({"items": items}, observers=observers))

    what = "flow" if flow else "node"
    with pytest.raises(TypeError, match=f"{prep} of batch {what} '{kind.__name__}' gave 3, over"):
        run(3)
    for nothing in (None, 0, ""):
        run(nothing)
    if flow:
        with pytest.raises(TypeError, match=f"batch flow '{kind.__name__}' gave 7 as the params"):
            run([{}, 7])


# -- tests ----------------------------------------------------------------------------------------


class Falls(StreamNode):
    model: ScriptedModel

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield from self.model.stream("again")

    def exec_fallback(self, prep_res: Any, exc: Exception) -> str:
        return "hidden"


class AsyncFalls(AsyncNode):
    model: ScriptedModel

    async def exec_async(self, prep_res: Any) -> str:
        return await self.model.acall("again")

    async def exec_fallback_async(self, prep_res: Any, exc: Exception) -> str:
        return "hidden"


@pytest.mark.parametrize("kind", [Falls, AsyncFalls])
def test_a_model_without_a_reply_fails_the_test(kind: Any) -> None:
    """Past the retries and the fallback of the node that called it."""
    node = kind(max_retries=3)
    node.model = ScriptedModel([ValueError("first")])
    with pytest.raises(NoReply, match="no reply for call 2, with the prompt 'again'"):
        in_loop(lambda: AsyncFlow(node).run_async({}))
    assert node.model.calls == ["again", "again"]
