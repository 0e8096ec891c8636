"""What is stored, and what is refused."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from flowevents import events as ev
from flowevents.errors import Conflict, JournalError, RunStateError
from flowevents.journal.journal import Journal
from flowevents.journal.records import Record, recorded
from flowevents.testing.checks import check_events
from flowevents.testing.journals.bench import PATIENCE, Bench, equal, raises, together
from flowevents.testing.journals.script import Script

__all__: list[str] = []


def check_what_is_written_is_read(bench: Bench) -> None:
    """By every handle, byte by byte, with what is kept beside it, from any place."""
    script, run_id = bench.begin()
    written = [script.make(ev.NodeStart, span=2, parent=1), script.make(ev.Progress, done=1.0)]
    script.lease.append(recorded(written[0]), recorded(written[1], b'{"deep":["\\n",null]}'))
    expected = [
        Record(2, ev.encode(written[0]), None),
        Record(3, ev.encode(written[1]), b'{"deep":["\\n",null]}'),
    ]
    for each in bench.all:
        equal(list(each.records(run_id))[1:], expected, "The records")
        equal(list(each.records(run_id, 2)), expected[1:], "The records after 2")
        equal(list(each.records(run_id, 3)), [], "The records after the last")
        equal(list(each.read(run_id))[1:], written, "The events")
    equal(script.lease.seq, 3, "The lease's seq")
    script.lease.release()


def check_what_comes_later_is_stored_in_order(bench: Bench) -> None:
    """With the next append, before it; or by the journal itself, and for a reader of this one."""
    script, run_id = bench.begin_step()
    script.say("a", "b")
    equal(len(list(bench.one.read(run_id))), 4, "What its own journal reads")
    script.say("c")
    script.end_step()
    equal([each.seq for each in bench.two.read(run_id)], [*range(1, 8)], "The numbers")
    equal(script.lease.seq, 7, "The lease's seq")
    script.begin_step(2)
    script.say("d")
    with bench.two.follow(run_id, 8, timeout=PATIENCE) as events:
        equal(next(events).seq, 9, "What is stored without anybody asking")
    script.lease.flush()
    script.lease.release()


def check_a_long_append(bench: Bench) -> None:
    """Thousands of events, and one of a megabyte, at once; read from each place in the middle."""
    script, run_id = bench.begin_step()
    script.say(*map(str, range(3_000)), "x" * 1_000_000)
    script.lease.flush()
    for after in (0, 1, 2, 3, 255, 256, 257, 2_999, 3_003):
        found = [each.seq for each in bench.two.read(run_id, after)]
        equal(found, [*range(after + 1, 3_004)], f"The numbers after {after}")
    script.lease.release()


def check_odd_texts(bench: Bench) -> None:
    """Ids, metadata and data that no store may stumble over."""
    run_id = bench.new_id() + " ü/'\";%*?[]{}\n\x00\U0001f600"
    lease = bench.one.begin(run_id, "flöw\udc80", {"what": object(), "deep": [1, {"a": None}]})
    equal(bench.two.runs()[0].id, run_id, "The id")
    start = ev.FlowStart(
        run_id, 1, 1.5, 1, "", parent=0, flow="flöw\udc80", metadata={"what": object()}
    )
    chunk = ev.Chunk(run_id, 2, 1.5, 1, "", data={"a": ["\x00", "\n", "\udc80", b"\xff", object()]})
    lease.append(recorded(start), recorded(chunk))
    read = list(bench.two.read(run_id))
    equal([ev.encode(each) for each in read], [*map(ev.encode, (start, chunk))], "The events")
    lease.release()
    bench.two.cancel(run_id)
    bench.two.delete(run_id)


def check_a_run_in_the_list(bench: Bench) -> None:
    """Its summary follows its events, whoever asks."""
    script, run_id = bench.begin_step()
    said = _said(bench.two, run_id)
    equal((said.flow, said.status, said.seq), ("agent", "running", 2), "A run that runs")
    equal(said.metadata, {"user": "Ada"}, "Its metadata")
    equal(said.interrupts, (), "Its questions")
    script.ask(choices=["yes", "no"], expires=2e9)
    (asked,) = _said(bench.two, run_id).interrupts
    equal((asked.id, asked.choices, asked.seq), ("q1", ["yes", "no"], 3), "Its question")
    script.write(ev.Retry, error="Lost")
    equal(_said(bench.two, run_id).interrupts, (asked,), "Its questions after a Retry")
    script.ask("q2")
    equal([each.id for each in _said(bench.two, run_id).interrupts], ["q2"], "The next question")
    script.end_step("error")
    said = _said(bench.two, run_id)
    equal((said.interrupts, said.seq), ((), 7), "When the step has ended")
    last = list(bench.one.read(run_id))[-1]
    equal((said.updated, said.started), (last.time, next(bench.one.read(run_id)).time), "Times")
    script.end("error")
    said = _said(bench.two, run_id)
    equal((said.status, said.error, said.action), ("failed", "ValueError: no", None), "Its end")


def _said(journal: Journal, run_id: str) -> Any:
    return next(each for each in journal.runs() if each.id == run_id)


def check_an_end_ends_the_lease(bench: Bench) -> None:
    """Nothing follows the FlowEnd of the run's own flow, but that of a nested one."""
    run_id = bench.new_id()
    Script.whole(bench.one, run_id)
    check_events(bench.two.read(run_id))
    equal(_said(bench.two, run_id).status, "done", "The status")
    raises(RunStateError, lambda: bench.two.take(run_id), run_id, "done")
    raises(RunStateError, lambda: bench.two.take(run_id, take_over=True), "done")
    script = Script(bench.one, bench.new_id())
    script.write(ev.FlowStart, span=2, parent=1, flow="Plan", attempt=0)
    script.write(ev.FlowEnd, status="ok", duration=0.0, attempt=0)
    equal(_said(bench.two, script.lease.run_id).status, "running", "After a nested flow's end")
    script.end()
    equal(script.lease.held, None, "What is held after the end")
    raises(JournalError, lambda: script.write(ev.NodeStart, parent=1))


def check_one_of_each_id(bench: Bench) -> None:
    """Who begins a run that is there is refused, however many try at once."""
    run_id = bench.new_id()
    results = together(*(partial(each.begin, run_id, "agent", {}) for each in bench.all * 2))
    leases = [each for each in results if not isinstance(each, Exception)]
    errors = {type(each) for each in results if isinstance(each, Exception)}
    equal((len(leases), errors), (1, {RunStateError}), "Who has begun it")
    raises(RunStateError, lambda: bench.one.begin(run_id, "agent", {}), run_id, "running")
    leases[0].release()
    raises(RunStateError, lambda: bench.two.begin(run_id, "agent", {}), run_id)


def check_nobody_writes_between(bench: Bench) -> None:
    """Who has lost the lease stores nothing more, and hears so each time."""
    old, run_id = bench.begin_step()
    old.say("old")
    old.lease.flush()
    old.say("never stored")
    new = Script(bench.two, run_id, bench.two.take(run_id, take_over=True))
    error = raises(Conflict, lambda: old.write(ev.Progress, done=1.0), run_id, "process")
    for call in (
        old.lease.flush,
        lambda: old.say("x"),
        old.lease.pause,
        old.lease.take_again,
        lambda: old.write(ev.Progress, done=1.0),
    ):
        equal(raises(Conflict, call), error, "What comes later")
    old.lease.release()
    new.write(ev.Retry, span=2, error="Lost")
    found = [each.seq for each in bench.others[0].read(run_id)]
    equal(found, [*range(1, new.lease.seq + 1)], "The numbers")
    new.lease.release()


def check_two_writers_at_once(bench: Bench) -> None:
    """Whoever takes a run over while another writes: the log has no hole and no second line."""
    script, run_id = bench.begin_step()
    script.lease.release()
    stop = threading.Event()

    def write(journal: Journal) -> int:
        count = 0
        while not stop.is_set():
            mine = Script(journal, run_id, journal.take(run_id, take_over=True))
            try:
                for _ in range(3):
                    mine.write(ev.Chunk, span=2, data="x")
                    count += 1
                mine.say("y")
            except Conflict:
                continue
            if count > 30:
                stop.set()
        return count

    counts = together(*(partial(write, each) for each in bench.all))
    events = list(bench.one.read(run_id))
    equal([each.seq for each in events], [*range(1, len(events) + 1)], "The numbers")
    stored = sum(isinstance(each, ev.Chunk) and each.data == "x" for each in events)
    equal(sum(each for each in counts if isinstance(each, int)), stored, f"Of {counts!r}, stored")
