"""What is stored of `shared`: what has changed, when a step has ended, and nothing in between."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowevents import BatchNode, Flow, JournalError, MemoryJournal, Node, NodeEnd, Run
from flowevents.events import decode
from flowevents.journal.kept import kept_of
from flowevents.testing import check_events

Change = Callable[[Any], object]


class Does(Node):
    """Does something with `shared`, in its `post`."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        self.change(shared)


def _flow(changes: list[Change]) -> Flow:
    nodes = [Does(change) for change in changes]
    for at, node in enumerate(nodes):
        node.node_name = f"N{at}"
        if at:
            nodes[at - 1] >> node
    return Flow(nodes[0])


def _stored(journal: MemoryJournal) -> list[Any]:
    """What each record holds of `shared`, in order, as plain JSON: `set`, `add` and `gone`."""
    found: list[Any] = []
    for record in journal.records("run"):
        kept = kept_of(record.kept)
        if kept is not None and kept.shared is not None:
            found.append(msgspec.json.decode(msgspec.json.encode(kept.shared)))
    return found


def _run(journal: MemoryJournal, shared: Any, *changes: Change, **options: Any) -> list[Any]:
    """What is stored of `shared` where nodes do this to it, one after the other."""
    Run(_flow(list(changes)), shared, journal=journal, id="run", **options).wait()
    return _stored(journal)


def _again(journal: MemoryJournal, *changes: Change, **options: Any) -> Any:
    """`shared` of a fork that begins after the last of these nodes."""
    return Run.fork(_flow(list(changes)), journal, "run", **options).shared


def test_only_what_has_changed(journal: MemoryJournal) -> None:
    """All of it first, then changed keys; in place or not, and also those that are as before."""
    changes: list[Change] = [
        lambda shared: shared.update(b=2),
        lambda shared: shared["deep"]["x"][0].append(3),
        lambda shared: None,
        lambda shared: shared.update(a=1, deep={"x": [[3]]}),  # equal to what is there
        lambda shared: shared.update(a=True),  # and this as well, but of another type
    ]
    assert _run(journal, {"a": 1, "deep": {"x": [[]]}}, *changes) == [
        {"set": [["a", 1], ["deep", {"x": [[]]}]]},
        {"set": [["b", 2]]},
        {"set": [["deep", {"x": [[3]]}]]},
        {"set": [["a", True]]},
    ]
    assert _again(journal, *changes) == {"a": 1, "deep": {"x": [[3]]}, "b": 2}


def test_the_new_end_of_a_list(journal: MemoryJournal) -> None:
    """Where it only got longer; otherwise all of it."""
    changes: list[Change] = [
        lambda shared: shared["chat"].append("b"),
        lambda shared: shared.update(chat=["a", "b", "c", "d"]),
        lambda shared: shared["chat"].insert(0, "x"),
        lambda shared: shared["chat"].pop(),
        lambda shared: shared["chat"].clear(),
        lambda shared: shared["chat"].append(1),
        lambda shared: shared["chat"].append(2),
        lambda shared: shared.update(chat=(1, 2, 3)),
        lambda shared: shared.update(chat=[1, 2, 3, 4]),
    ]
    assert _run(journal, {"chat": ["a"]}, *changes) == [
        {"set": [["chat", ["a"]]]},
        {"add": [["chat", ["b"]]]},
        {"add": [["chat", ["c", "d"]]]},
        {"set": [["chat", ["x", "a", "b", "c", "d"]]]},
        {"set": [["chat", ["x", "a", "b", "c"]]]},
        {"set": [["chat", []]]},
        {"set": [["chat", [1]]]},
        {"add": [["chat", [2]]]},
        {"set": [["chat", {"$": ["tuple", [1, 2, 3]]}]]},
        {"set": [["chat", [1, 2, 3, 4]]]},
    ]
    assert _again(journal, *changes) == {"chat": [1, 2, 3, 4]}


@dataclass
class Message:
    """What a chat is made of."""

    text: str
    tags: list[str] = field(default_factory=list)


@pytest.mark.parametrize("make", [Message, lambda text: date(2024, 1, ord(text) - 96)])
def test_the_new_end_of_a_list_of_objects(
    journal: MemoryJournal, make: Callable[[str], Any]
) -> None:
    """Also of what is no plain JSON."""
    changes: list[Change] = [
        lambda shared: shared["chat"].append(make("a")),  # plain up to here
        lambda shared: shared["chat"].append(make("b")),
        lambda shared: shared["chat"].extend([make("c"), 1]),
        lambda shared: shared["chat"].append(2),
        lambda shared: None,
    ]
    types = [Message]
    stored = _run(journal, {"chat": ["x"]}, *changes, state_types=types)
    assert [list(each) for each in stored] == [["set"], *[["add"]] * 4]
    assert [len(each["add"][0][1]) for each in stored[1:]] == [1, 1, 2, 1]
    expected = ["x", make("a"), make("b"), make("c"), 1, 2]
    assert _again(journal, *changes, state_types=types) == {"chat": expected}


def test_an_object_that_is_changed(journal: MemoryJournal) -> None:
    """In the middle of a list that gets longer, too."""

    def grow(shared: Any) -> None:
        shared["chat"][0].tags.append("new")
        shared["chat"].append(Message("c"))

    message = Message("a")
    stored = _run(journal, {"chat": [message, Message("b")]}, grow, state_types=[Message])
    assert [list(each) for each in stored] == [["set"], ["set"]]
    again = _again(journal, grow, state_types=[Message])
    assert again == {"chat": [Message("a", ["new"]), Message("b"), Message("c")]}


def test_deleted_keys(journal: MemoryJournal) -> None:
    """Gone, and there again."""
    changes: list[Change] = [
        lambda shared: shared.pop("a"),
        lambda shared: shared.update(a=1),
        lambda shared: shared.clear(),
    ]
    stored = _run(journal, {"a": 1, 2: b""}, *changes)
    assert stored[1:] == [{"gone": ["a"]}, {"set": [["a", 1]]}, {"gone": [2, "a"]}]
    assert _again(journal, *changes) == {}


@pytest.mark.parametrize(
    ("shared", "change", "after"),
    [
        ([1], lambda shared: shared.append(2), [1, 2]),
        ({1}, lambda shared: shared.add(2), {1, 2}),
        (Message("a"), lambda shared: shared.tags.append("t"), Message("a", ["t"])),
        ("text", lambda shared: None, "text"),
        (None, lambda shared: None, None),
    ],
    ids=["list", "set", "object", "text", "none"],
)
def test_all_of_what_is_no_dict(
    journal: MemoryJournal, shared: Any, change: Change, after: Any
) -> None:
    """Each time that it has changed."""
    shared = deepcopy(shared)
    stored = _run(journal, shared, change, lambda shared: None, state_types=[Message])
    assert len(stored) == (2 if shared == after and after and after != "text" else 1)
    again = _again(journal, change, lambda shared: None, state_types=[Message])
    assert (again, type(again)) == (after, type(after))


class Fails(BatchNode):
    """Changes `shared` in its `prep` and its `exec`, and is stopped in the second item."""

    shared: Any

    def prep(self, shared: Any) -> Any:
        shared["in prep"] = shared.get("in prep", 0) + 1
        self.shared = shared
        return [1, 2, 3]

    def exec(self, item: Any) -> Any:
        self.shared["in exec"] = self.shared.get("in exec", 0) + 1
        if item == 2 and self.shared["stops"]:
            raise KeyboardInterrupt
        return item

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["result"] = exec_res


def test_nothing_while_a_step_is_open(journal: MemoryJournal) -> None:
    """It finds `shared` as it found it first: results of items come back, and nothing else."""
    first = Does(lambda shared: shared.update(first=True))
    first >> Fails()
    run = Run(Flow(first), {"stops": True}, journal=journal, id="run", transient={"stops"})
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    assert _stored(journal) == [{"set": [["first", True]]}]
    again = Run.resume(Flow(first), journal, "run", shared={"stops": False})
    assert again.shared == {"first": True, "stops": False}
    again.wait()
    check_events(journal.read("run"))
    assert again.shared == {
        "first": True,
        "stops": False,
        "in prep": 1,
        "in exec": 2,
        "result": [1, 2, 3],
    }


class Prepares(Flow):
    """Changes `shared` in its `prep` and its `post`."""

    def prep(self, shared: Any) -> Any:
        shared["prepared"] = True
        return ("prep", 1)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        shared["result"] = prep_res
        return exec_res


def test_a_flows_prep_is_stored_with_the_first_record_after_it(journal: MemoryJournal) -> None:
    """And with the flow's end what its `post` did."""
    flow = Prepares(Does(lambda shared: None))
    Run(flow, {}, journal=journal, id="run").wait()
    kinds = []
    for record in journal.records("run"):
        kept = kept_of(record.kept)
        if kept is not None and kept.shared is not None:
            kinds.append((type(decode(record.event)).__name__, len(kept.shared.set)))
    assert kinds == [("NodeStart", 1), ("FlowEnd", 1)]


def test_transient_keys_are_brought_back(journal: MemoryJournal) -> None:
    """They are in no record; a missing one, or one too many, is an error that names it."""
    changes: list[Change] = [
        lambda shared: shared.update(index=object(), n=shared["client"]()),
        lambda shared: shared.pop("client"),
    ]
    shared: dict[Any, Any] = {"client": lambda: 7, (1, 2): open}
    with pytest.raises(JournalError, match="transient"):
        Run(_flow(changes), shared, journal=journal, transient={"client", (object(), 2)}).wait()
    del shared[1, 2]
    stored = _run(journal, shared, *changes, transient={"client", "index"})
    assert stored == [{"set": [["n", 7]]}]
    for values, what in (
        ({"client": 1}, r"shared\['index'\], which is transient"),
        ({"client": 1, "index": 2, "n": 3}, r"shared\['n'\] is kept in the log"),
        (None, "which is transient: give it again"),
    ):
        with pytest.raises(JournalError, match=what):
            Run.fork(_flow(changes), journal, "run", shared=values)
    fork = Run.fork(_flow(changes), journal, "run", shared={"client": 1, "index": 2}, at=1)
    assert fork.shared == {"client": 1, "index": 2}


@pytest.mark.parametrize(
    ("shared", "what"),
    [
        ({"a": {"b": [print]}}, r"shared\['a'\]\['b'\]\[0\] is a builtin_function"),
        ({"a": defaultdict(list)}, r"shared\['a'\] is a collections.defaultdict"),
        ({(1, 2): 3}, r"shared has the key \(1, 2\)"),
        (Counter("a"), "shared is a collections.Counter"),
        ([open], r"shared\[0\] is a"),
    ],
    ids=["value", "subclass", "key", "shared", "list"],
)
def test_what_cannot_be_kept_at_first(journal: MemoryJournal, shared: Any, what: str) -> None:
    """Is refused before any node runs, and before there is a log."""
    shared = deepcopy(shared)
    ran: list[int] = []
    run = Run(_flow([ran.append]), shared, journal=journal, id="run")
    with pytest.raises(JournalError, match=what):
        run.wait()
    assert (ran, journal.runs()) == ([], [])


def test_what_cannot_be_kept_later(journal: MemoryJournal) -> None:
    """Is refused at the end of the step that put it there, which stays open, and runs again."""
    bad: list[Any] = [print]
    changes: list[Change] = [
        lambda shared: shared.update(a=1),
        lambda shared: shared.update(index={"faiss": bad[0]}, a=2),
    ]
    run = Run(_flow(changes), {}, journal=journal, id="run")
    with pytest.raises(JournalError, match=r"shared\['index'\]\['faiss'\] is a builtin_function"):
        run.wait()
    assert run.status == "cancelled"
    assert [each.status for each in journal.runs()] == ["running"]
    assert journal.due() == ["run"]
    events = list(journal.read("run"))
    assert [each.node for each in events if isinstance(each, NodeEnd)] == ["N0"]
    bad[0] = 5
    again = Run.resume(_flow(changes), journal, "run")
    assert again.shared == {"a": 1}
    again.wait()
    assert again.shared == {"a": 2, "index": {"faiss": 5}}
    check_events(journal.read("run"))


PARTS = st.recursive(
    st.sampled_from([0, 1, 2, "a", (1,), date(2024, 1, 1), 1.5]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
SHARED = st.dictionaries(
    st.sampled_from(["a", "b", 1, None]), st.lists(PARTS, max_size=4) | PARTS, max_size=4
)


@given(st.lists(SHARED, min_size=2, max_size=5))
def test_any_changes_come_back(states: list[dict[Any, Any]]) -> None:
    """Whatever `shared` is after each step, a fork after that step has it."""

    def becomes(state: dict[Any, Any]) -> Change:
        def change(shared: Any) -> None:
            for key in [key for key in shared if key not in state]:
                del shared[key]
            for key, value in state.items():
                old = shared.get(key)
                if type(old) is type(value) is list and value[: len(old)] == old:
                    old.extend(value[len(old) :])
                else:
                    shared[key] = list(value) if type(value) is list else value

        return change

    first, *others = states
    changes = [becomes(state) for state in others]
    with MemoryJournal() as journal:
        Run(_flow(changes), dict(first), journal=journal, id="run").wait()
        ends = [e.seq for e in journal.read("run") if isinstance(e, NodeEnd)]
        for seq, state in zip(ends, others, strict=True):
            assert repr(sorted(_items(Run.fork(_flow(changes), journal, "run", seq).shared))) == (
                repr(sorted(_items(state)))
            )


def _items(shared: dict[Any, Any]) -> list[tuple[str, Any]]:
    return [(repr(key), value) for key, value in shared.items()]
