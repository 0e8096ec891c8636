"""One test per rule: numbers, names, starts, ends and items."""

from __future__ import annotations

from typing import Any

import pytest

from flowevents import (
    Action,
    Chunk,
    Event,
    FlowEnd,
    FlowStart,
    Interrupt,
    ItemEnd,
    ItemStart,
    NodeEnd,
    NodeStart,
    Retry,
)
from flowevents.testing import check_events
from tests.checking.script import Script, flow, names_the_first


def test_a_stream_of_nothing_is_that_of_a_run_that_never_began() -> None:
    """No events at all break no rule."""
    check_events([])


def test_the_first_event_is_the_start_of_the_runs_own_flow() -> None:
    """Another type, path, place or parent is wrong there."""
    script = Script()
    script.start(NodeStart, node="A", parent=0)
    names_the_first(script, "the first event is the FlowStart")
    wrong: dict[str, Any] = {"node": "A", "items": (0,), "step": 1, "attempt": 1, "parent": 1}
    for field, value in wrong.items():
        script = Script()
        script.start(FlowStart, **{field: value})
        names_the_first(script, f"{field} is {value!r}")


def test_numbers_begin_at_one() -> None:
    """A stream that begins later is not whole."""
    script = Script()
    script.start(FlowStart, seq=2, span=2)
    with pytest.raises(AssertionError, match=r"^seq 2: FlowStart of node '': is the first event"):
        check_events(script.events, complete=False)


def test_a_name_holds_no_slash_and_no_hash_of_its_own() -> None:
    """Paths are read from their separators, so that names cannot hold them."""
    for path in ("", "A/B", "#2", "A#1", "A#02", "A#x", "A#2#2", "/A"):
        script = flow()
        script.start(NodeStart, node=path, parent=1)
        names_the_first(script, "which no node can have")
    script = Script()
    script.start(FlowStart, flow="F/G")
    names_the_first(script, "flow ends with the name 'F/G'")
    check_events(_ended(flow(), "Ä b#12").events)


def _ended(script: Script, path: str) -> Script:
    script.add(Action, script.node(path, 1), action=None)
    script.add(FlowEnd, 1)
    return script


def test_a_nested_path_begins_with_that_of_its_flow() -> None:
    """A child's path is its flow's path, a slash and its name; a nested flow says its name."""
    script = flow()
    inner = script.start(FlowStart, node="G", parent=1, flow="G")
    script.start(NodeStart, node="A", parent=inner)
    names_the_first(script, "node is 'A', which is not in the flow 'G'")
    script = flow()
    script.start(FlowStart, node="G", parent=1, flow="H")
    names_the_first(script, "flow is 'H'")


def test_a_parent_is_an_enclosing_start_that_is_open() -> None:
    """An end, a later number or a closed start is no parent."""
    script = flow()
    first = script.node("A", 1)
    script.add(Action, first, action=None, target="B")
    for parent, text in ((first, "ended already"), (4, "no start"), (99, "no start")):
        again = flow()
        again.events = list(script.events)
        again.start(NodeStart, node="B", parent=parent)
        names_the_first(again, f"parent is {parent}, which is {text}")


def test_items_are_in_batches_and_nodes_in_flows_or_their_items() -> None:
    """A node in a node, an item in an item, or a node beside items does not occur."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    script.start(NodeStart, node="A/B", parent=node)
    names_the_first(script, "nodes are in flows")
    script.events.pop()
    item = script.start(ItemStart, parent=node)
    script.start(ItemStart, parent=item)
    names_the_first(script, "which is no batch")
    script.events.pop()
    script.start(NodeStart, node="A/B", parent=item, items=(0,))
    names_the_first(script, "nodes are in flows")
    script = flow()
    script.start(ItemStart, parent=1)
    script.start(NodeStart, node="A", parent=1)
    names_the_first(script, "a batch's items hold its nodes")
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.start(ItemStart, parent=1)
    names_the_first(script, "which is no batch")


def test_one_node_of_a_flow_runs_at_a_time() -> None:
    """A node cannot begin in a flow where another one is open."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.start(NodeStart, node="B", parent=1)
    names_the_first(script, "begins in a flow where NodeStart 2 is open")


def test_a_node_that_failed_ends_its_flow() -> None:
    """Nothing begins after it there, and its flow cannot be ok."""
    for status, error in (("error", "ValueError: x"), ("cancelled", None)):
        script = flow()
        node = script.start(NodeStart, node="A", parent=1)
        script.add(NodeEnd, node, status=status, error=error)
        script.start(NodeStart, node="B", parent=1)
        names_the_first(script, f"NodeEnd 3 has ended it with status {status!r}")
        script.events.pop()
        script.add(FlowEnd, 1)
        names_the_first(script, f"status is 'ok' after NodeEnd 3 in it with status {status!r}")


def test_an_item_that_failed_fails_its_batch() -> None:
    """The end of a batch flow is not ok, whichever other items were; nor after a cancelled one."""
    for inside, status, error in ((False, "error", "ValueError: x"), (True, "cancelled", None)):
        script = flow()
        batch = script.start(NodeStart, node="A", parent=1) if inside else 1
        one = script.start(ItemStart, parent=batch, index=0)
        other = script.start(ItemStart, parent=batch, index=1)
        script.add(ItemEnd, one, status=status, error=error, done=1)
        script.add(ItemEnd, other, done=2)
        script.add(NodeEnd if inside else FlowEnd, batch)
        names_the_first(script, f"status is 'ok' after ItemEnd {other + 1} in it")


def test_an_item_that_failed_may_be_a_result() -> None:
    """Of a batch node with `return_exceptions`, which goes on."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    script.add(ItemEnd, script.start(ItemStart, parent=node, index=0), status="error", error="E")
    script.add(ItemEnd, script.start(ItemStart, parent=node, index=1), done=2)
    script.add(NodeEnd, node)
    script.add(Action, node, action=None)
    script.add(FlowEnd, 1)
    check_events(script.events)


def test_a_label_is_a_text() -> None:
    """What else it is would surprise whoever shows it."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    script.start(ItemStart, parent=node, label=7)
    names_the_first(script, "label is 7: Expected `str`, got `int`")


def test_an_end_is_of_its_starts_kind() -> None:
    """A node does not end with a `FlowEnd`."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    script.add(FlowEnd, node)
    names_the_first(script, "ends NodeStart 2, a start of another kind")


def test_ends_come_innermost_first() -> None:
    """Nothing ends around what is open."""
    script = flow()
    node = script.start(NodeStart, node="A", parent=1)
    script.start(ItemStart, parent=node)
    script.add(NodeEnd, node)
    names_the_first(script, "comes before the end of ItemStart 3 in it")
    script.events.pop()
    script.add(FlowEnd, 1)
    names_the_first(script, "comes before the end of NodeStart 2 in it")


def test_nothing_comes_after_the_end_of_its_span() -> None:
    """An end is the last event of a span, and that of the run's flow the last of all."""
    of_a_node: list[tuple[type[Event], dict[str, Any]]] = [
        (Chunk, {"data": 1}),
        (NodeEnd, {}),
        (Retry, {"error": "E"}),
        (Interrupt, {"id": "q", "prompt": "?"}),
    ]
    for kind, fields in of_a_node:
        script = flow()
        script.add(kind, script.node("A", 1), **fields)
        names_the_first(script, "span is 2, which is ended already")
    too_late: list[tuple[type[Event], dict[str, Any]]] = [
        (Action, {"action": None}),
        (Chunk, {"data": 1}),
        (FlowEnd, {}),
    ]
    for late, own in too_late:
        script = _ended(flow(), "A")
        script.add(late, 1, **own)
        names_the_first(script, "comes after the FlowEnd of the run's own flow")


def test_an_event_belongs_to_a_start() -> None:
    """A span is the number of a start, and the event agrees with that."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    script.add(Chunk, 2, data=1)
    for span_ in (3, 4, 0):
        script.add(Chunk, span_, data=2)
        names_the_first(script, f"span is {span_}, which is no start")
        script.events.pop()
    wrong: dict[str, Any] = {"node": "B", "items": (1,), "step": 2, "attempt": 2}
    for field, value in wrong.items():
        script.add(Chunk, 2, data=2, **{field: value})
        names_the_first(script, f"{field} is {value!r}")
        script.events.pop()


def test_an_item_has_an_index_of_its_own() -> None:
    """One index more than its batch has, and one that no other item has."""
    for items, text in (
        ((0,), "0 was used before"),
        ((-1,), "is no index"),
        ((2,), "is beyond total 2"),
        ((), "and one index more"),
        ((0, 1), "and one index more"),
    ):
        script = flow()
        node = script.start(NodeStart, node="A", parent=1)
        script.add(ItemEnd, script.start(ItemStart, parent=node))
        script.start(ItemStart, parent=node, items=items)
        names_the_first(script, text)


def test_an_item_agrees_with_its_batch() -> None:
    """Its path and step are its node's; attempts count from 1 per item, or are a flow's 0."""
    for field, value in (("node", "B"), ("step", 2), ("attempt", 0)):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        script.start(ItemStart, parent=2, **{field: value})
        names_the_first(script, f"{field} is {value!r}")
    script = flow()
    script.start(ItemStart, parent=1, attempt=1)
    names_the_first(script, "attempt is 1, not 0")


def test_the_items_of_a_batch_agree_on_its_total() -> None:
    """Each start and end says the same one."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    first = script.start(ItemStart, parent=2)
    script.start(ItemStart, parent=2, index=1, total=3)
    names_the_first(script, "total is 3, not 2")
    script.events.pop()
    script.add(ItemEnd, first, total=None)
    names_the_first(script, "total is None, not 2")


def test_an_items_end_counts_the_ends() -> None:
    """`done` is 1, 2, 3 … in the order of the ends."""
    script = flow()
    script.start(NodeStart, node="A", parent=1)
    one, other = (script.start(ItemStart, parent=2, index=index) for index in (0, 1))
    script.add(ItemEnd, other, done=2)
    names_the_first(script, "done is 2, not 1")
    script.events.pop()
    script.add(ItemEnd, other, done=1)
    script.add(ItemEnd, one, done=1)
    names_the_first(script, "done is 1, not 2")


def test_a_batch_that_is_ok_had_all_its_items() -> None:
    """One that leaves items out cannot have ended well."""
    for total, index in ((3, 0), (None, 1)):
        script = flow()
        script.start(NodeStart, node="A", parent=1)
        item = script.start(ItemStart, parent=2, index=index, total=total)
        script.add(ItemEnd, item)
        script.add(NodeEnd, 2)
        names_the_first(script, "of its items only 1 were there")


def test_what_is_in_an_item_carries_its_indexes() -> None:
    """The nodes of a batch flow's item have the item's indexes."""
    script = flow()
    item = script.start(ItemStart, parent=1)
    script.start(NodeStart, node="A", parent=item)
    names_the_first(script, "items is (), not (0,)")
