"""Copies of nodes: concurrent runs, `copy` and pickle."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from flowevents import AsyncFlow, AsyncStreamNode, Flow, Node, NodeStart, StreamNode, signals
from tests.nodes.words import Counting, EmittingBatch
from tests.watching import Way


def attributes(node: Any) -> dict[str, Any]:
    """What an object holds."""
    return dict(vars(node))


def test_the_nodes_of_a_flow_run_as_copies(way: Way) -> None:
    """What one step writes to `self` the next does not see, and the original stays as it was."""
    node = Counting(max_retries=2)
    again = Counting(max_retries=2)
    node >> again
    before = attributes(node), attributes(again)
    flow = Flow(start=node)
    flow_before = attributes(flow)
    shared: dict[str, Any] = {}
    for _ in range(2):
        assert way.watch(flow, shared).error is None
    assert shared["scratch"] == ["prep exec exec"] * 4
    assert (attributes(node), attributes(again)) == before
    assert attributes(flow) == flow_before


def test_a_node_that_is_run_by_itself_runs_itself(way: Way) -> None:
    """As in pocketflow: what it writes to `self` stays; the engine writes nothing."""

    class Writes(Node):
        def exec(self, prep_res: Any) -> None:
            self.written = True

    node = Writes()
    before = attributes(node)
    way.watch(node)
    way.run(node)
    assert attributes(node) == {**before, "written": True}


def test_the_engine_writes_nothing_to_a_node_that_retries_by_itself(way: Way) -> None:
    """`cur_retry` is right while it runs, and the object is as it was afterwards."""
    seen = []

    class Retries(Node):
        def exec(self, prep_res: Any) -> None:
            seen.append(self.cur_retry)
            if self.cur_retry < 2:
                raise ValueError("again")

    node = Retries(max_retries=3)
    before = attributes(node)
    way.run(node)
    assert seen == [0, 1, 2]
    assert attributes(node) == before


def test_concurrent_runs_of_one_node_count_their_own_retries() -> None:
    """Two threads run the same object at the same time, one of them an attempt ahead."""
    seen: dict[str, list[int]] = {"ahead": [], "behind": []}
    turns = {"ahead": threading.Semaphore(1), "behind": threading.Semaphore(0)}

    class Flaky(Node):
        def prep(self, shared: Any) -> Any:
            return shared["name"]

        def exec(self, prep_res: str) -> None:
            assert turns[prep_res].acquire(timeout=30)
            seen[prep_res].append(self.cur_retry)
            turns["behind" if prep_res == "ahead" else "ahead"].release()
            if len(seen[prep_res]) < 3:
                raise ValueError("again")

    node = Flaky(max_retries=3)
    thread = threading.Thread(target=node.run, args=({"name": "behind"},), daemon=True)
    thread.start()
    node.run({"name": "ahead"})
    thread.join()
    assert seen == {"ahead": [0, 1, 2], "behind": [0, 1, 2]}


def test_a_users_copy_method_is_used(way: Way) -> None:
    """A node decides what its copies have in common."""
    made = []

    class Own(Node):
        def __init__(self) -> None:
            super().__init__()
            self.cache: list[str] = []

        def __copy__(self) -> Own:
            new = Own()
            new.successors = self.successors
            made.append(new)
            return new

        def exec(self, prep_res: Any) -> None:
            self.cache.append("x")
            self.emit(len(self.cache))

    node = Own()
    node - "again" >> node
    watched = way.watch(Flow(start=node))
    assert watched.data() == [1]
    assert len(made) == 1
    assert node.cache == []


def test_a_node_with_slots_is_copied_whole(way: Way) -> None:
    """Its slots are copied as well as its attributes."""

    class Slotted(Node):
        __slots__ = ("limit",)

        def __init__(self, limit: int) -> None:
            super().__init__()
            self.limit = limit
            self.text = "text"

        def exec(self, prep_res: Any) -> None:
            self.emit((self.limit, self.text, self.params))
            self.limit = 0

    node = Slotted(7)
    flow = Flow(start=node)
    flow.set_params({"p": 1})
    assert way.watch(flow).data() == [(7, "text", {"p": 1})]
    assert (node.limit, node.params) == (7, {})


def test_a_users_state_methods_are_used(way: Way) -> None:
    """What `copy.copy` would do is done."""

    class Stateful(Node):
        def __getstate__(self) -> dict[str, Any]:
            return {**vars(self), "state": "as a copy"}

        def exec(self, prep_res: Any) -> None:
            self.emit(vars(self).get("state"))

    assert way.watch(Flow(start=Stateful())).data() == ["as a copy"]


def test_an_overridden_set_params_is_called_on_the_copy(way: Way) -> None:
    """With the flow's params, as pocketflow does; the original is left alone."""

    class Checked(Node):
        def set_params(self, params: dict[str, Any]) -> None:
            super().set_params({**params, "checked": True})

        def exec(self, prep_res: Any) -> None:
            self.emit(dict(self.params))

    node = Checked()
    flow = Flow(start=node)
    flow.set_params({"p": 1})
    assert way.watch(flow).data() == [{"p": 1, "checked": True}]
    assert node.params == {}


def test_params_of_a_flow_replace_those_of_its_nodes(way: Way) -> None:
    """As in pocketflow: the nodes of a flow without params have none."""

    class Says(Node):
        def exec(self, prep_res: Any) -> None:
            self.emit(dict(self.params))

    node = Says()
    node.set_params({"own": 1})
    assert way.watch(node).data() == [{"own": 1}]
    assert way.watch(Flow(start=node)).data() == [{}]
    assert node.params == {"own": 1}


class Portable(StreamNode):
    """Can be pickled: it stands in a module."""

    def exec_stream(self, prep_res: Any) -> Iterator[Any]:
        yield from self.params.get("words", ["a"])
        remade = pickle.loads(pickle.dumps(self))
        remade.emit("nobody hears a copy from another process")
        yield len(vars(copy.deepcopy(self).successors["default"]))

    def exec(self, prep_res: Any) -> Any:
        return None


class PortableAsync(AsyncStreamNode):
    """So can this."""

    async def exec_stream_async(self, prep_res: Any) -> AsyncIterator[Any]:
        yield pickle.loads(pickle.dumps(self)).params
        yield copy.deepcopy(self).max_retries


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node))]
)
def test_nodes_can_be_copied_and_pickled(again: Callable[[Any], Any]) -> None:
    """What comes back runs as the original, and has its name, its options and its successors."""
    node = Portable(max_retries=2, wait=3)
    node.node_name = "named"
    node >> PortableAsync()
    made = again(node)
    assert type(made) is Portable
    assert (made.max_retries, made.wait, made.node_name) == (2, 3, "named")
    assert isinstance(made.successors["default"], PortableAsync)
    flow = again(AsyncFlow(start=node))
    assert [event.node for event in Way("async").watch(flow).of(NodeStart)] == [
        "named",
        "PortableAsync",
    ]


def test_a_node_can_be_copied_and_pickled_while_it_runs() -> None:
    """From inside `exec`, also where it is run by itself; what comes back runs no step."""
    node = Portable()
    node >> PortableAsync(max_retries=2)
    watched = Way("async").watch(AsyncFlow(start=node))
    assert watched.error is None
    assert watched.data()[0] == "a"
    assert watched.data()[-2:] == [{}, 2]
    alone = Way("async").watch(PortableAsync())
    assert alone.data() == [{}, 1]


def test_a_copy_made_by_hand_is_heard_as_the_original(way: Way) -> None:
    """A handler connected to a node hears its copies, and a deep copy is a node of its own."""
    node = EmittingBatch()
    heard: list[str] = []
    with signals.chunk.connected_to(lambda event: heard.append(event.data), node):
        way.run(copy.copy(node))
        assert heard == ["item a", "item b"]
        way.run(copy.deepcopy(node))
    assert heard[:2] == ["item a", "item b"]
