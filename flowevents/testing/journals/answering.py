"""Inboxes: replies, cancels and pauses."""

from __future__ import annotations

import time
from functools import partial

from flowevents import events as ev
from flowevents.errors import ReplyError, RunStateError, UnknownRun
from flowevents.testing.checks import check_events
from flowevents.testing.journals.bench import Bench, equal, kinds, raises, together
from flowevents.testing.journals.script import Script

__all__: list[str] = []


def check_an_answer(bench: Bench) -> None:
    """It waits for whoever drives the run, and enters the log with the message leaving."""
    script, run_id = bench.begin_step()
    script.ask(choices=["yes", "no"])
    bench.two.reply(run_id, "yes", "q1")
    (message,) = script.lease.inbox()
    equal((message.kind, message.question, message.value), ("reply", "q1", "yes"), "The message")
    script.answer(message)
    equal(script.lease.inbox(), [], "What waits then")
    (said,) = [each for each in bench.two.runs() if each.id == run_id]
    equal(said.interrupts, (), "The open questions")
    refused = raises(ReplyError, lambda: bench.two.reply(run_id, "yes", "q1"), run_id, "q1")
    equal(refused.asked, False, "Whether it is asked any more")
    script.lease.release()
    check_events(bench.two.read(run_id), complete=False)


def check_refusals(bench: Bench) -> None:
    """Each with its reason, and nothing is put into the inbox."""
    run_id = bench.new_id()
    reply = bench.two.reply
    raises(UnknownRun, lambda: reply(run_id, 1), run_id)
    script = Script(bench.one, run_id)
    script.begin_step()
    raises(ReplyError, lambda: reply(run_id, 1), run_id, "running")
    raises(ReplyError, lambda: reply(run_id, 1, "q0"), "q0")
    script.ask("q1", choices=[1, "a", [True]])
    for wrong in (True, 2, "b", None, [1, 2], {"a": 1}):
        refused = raises(ReplyError, partial(reply, run_id, wrong), repr(wrong), "choices")
        equal(refused.asked, True, "Whether it is still asked")
    raises(ReplyError, lambda: reply(run_id, object()), "JSON")
    script.ask("q2", schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    raises(ReplyError, lambda: reply(run_id, {"n": "x"}), "integer")
    raises(ReplyError, lambda: reply(run_id, {"n": 1}, "q1"), "q1")
    script.ask("q3", expires=time.time() - 1)
    raises(ReplyError, lambda: reply(run_id, 1), "expired")
    equal(script.lease.inbox(), [], "The inbox")
    script.ask("q4", schema={"type": "boolean"}, expires=time.time() + 3_600)
    reply(run_id, True)
    raises(ReplyError, lambda: reply(run_id, True), "q4", "already")
    equal([each.value for each in script.lease.inbox()], [True], "The inbox")
    script.end()
    raises(ReplyError, lambda: reply(run_id, True, "q4"), "done")


def check_which_question(bench: Bench) -> None:
    """An id is needed where several are open, of which some are answered."""
    script, run_id = bench.begin_step()
    for span in (3, 4):
        script.write(ev.ItemStart, span=span, parent=2, items=(span - 3,), total=2)
    for span, id in ((3, "a"), (4, "b")):
        script.ask(id, span=span, items=(span - 3,))
    raises(ReplyError, lambda: bench.two.reply(run_id, 1), "'a'", "'b'", "2")
    bench.two.reply(run_id, {"deep": [None, 1.5]}, "a")
    bench.one.reply(run_id, "x")
    found = [(each.question, each.value) for each in script.lease.inbox()]
    equal(found, [("a", {"deep": [None, 1.5]}), ("b", "x")], "The answers")
    script.lease.release()


def check_one_answer_wins(bench: Bench) -> None:
    """Of many at once."""
    script, run_id = bench.begin_step()
    script.ask()
    script.lease.pause()
    results = together(
        *(partial(each.reply, run_id, number) for number, each in enumerate(bench.all * 3))
    )
    equal(sum(each is None for each in results), 1, "How many were accepted")
    equal({type(each) for each in results if each is not None}, {ReplyError}, "What others get")
    script.lease.take_again()
    equal([each.value for each in script.lease.inbox()], [results.index(None)], "The inbox")
    script.lease.release()


def check_none_is_lost_at_a_pause(bench: Bench) -> None:
    """An answer is there when the run pauses, or the run is due."""
    for _ in range(20):
        script, run_id = bench.begin_step()
        script.ask()
        messages, _ = together(script.lease.pause, partial(bench.two.reply, run_id, 1))
        equal(bool(messages) or run_id in bench.two.due(), True, "Whether anybody finds it")
        equal(run_id in bench.others[0].due(), True, "Whether it is due")


def check_watching(bench: Bench) -> None:
    """Who drives a run is told, once each time, and nobody else; it is nothing to resume it for."""
    run_id = bench.new_id()
    script = Script(bench.one, run_id)
    equal(bench.one.was_watched(run_id), False, "Whether it was told")
    for _ in range(2):
        bench.two.tell_watched(run_id)
        bench.others[0].tell_watched(run_id)
        equal(script.lease.inbox(), [], "What somebody wants")
        equal(bench.one.was_watched(run_id), True, "Whether it was told")
        equal(bench.two.was_watched(run_id), False, "Whether it was told again")
    bench.two.tell_watched(run_id)
    script.lease.pause()
    equal(run_id in bench.two.due(), False, "Whether it is due")
    bench.one.was_watched(run_id)
    bench.two.tell_watched(run_id)
    equal(bench.one.was_watched(run_id), False, "Whether it was told of what nobody drives")
    bench.two.tell_watched("no such run")
    bench.two.delete(run_id)


def check_cancelling_what_is_driven(bench: Bench) -> None:
    """It is told so, and nothing is written."""
    script, run_id = bench.begin()
    bench.two.cancel(run_id)
    equal([each.kind for each in script.lease.inbox()], ["cancel"], "The inbox")
    equal(len(list(bench.two.read(run_id))), 1, "The log")
    script.end("cancelled")
    raises(RunStateError, lambda: bench.two.cancel(run_id), run_id, "cancelled")


def check_cancelling_what_nobody_drives(bench: Bench) -> None:
    """Its ends are written, innermost first, as those of any run."""
    script, run_id = bench.begin_step()
    for index in range(3):
        script.write(ev.ItemStart, span=3 + index, parent=2, items=(index,), total=5)
    script.write(ev.ItemEnd, span=4, items=(1,), status="ok", duration=0.0, done=1, total=5)
    script.write(ev.Retry, span=5, items=(2,), error="ValueError")
    script.ask(span=3, items=(0,))
    script.lease.pause()
    bench.two.cancel(run_id)
    events = list(bench.one.follow(run_id))
    check_events(events)
    wanted = ["ItemEnd", "ItemEnd", "NodeEnd", "FlowEnd"]
    equal(kinds(events[-4:]), wanted, "The ends")
    equal({getattr(each, "status", "") for each in events[-4:]}, {"cancelled"}, "Their status")
    (said,) = [each for each in bench.two.runs() if each.id == run_id]
    equal((said.status, said.interrupts), ("cancelled", ()), "What is said of it")


def check_cancelling_what_never_began(bench: Bench) -> None:
    """A run without an event gets the first and the last."""
    run_id = bench.new_id()
    bench.one.begin(run_id, "agent", {"user": "Ada"}).release()
    bench.two.cancel(run_id)
    events = list(bench.one.follow(run_id))
    check_events(events)
    equal(kinds(events), ["FlowStart", "FlowEnd"], "The events")


def check_who_cancels_first(bench: Bench) -> None:
    """Many at once: the ends are there once."""
    script, run_id = bench.begin_step()
    script.lease.release()
    results = together(*(partial(each.cancel, run_id) for each in bench.all * 2))
    equal(None in results, True, "Whether any has")
    check_events(bench.two.read(run_id))
