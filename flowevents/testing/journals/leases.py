"""Who may write."""

from __future__ import annotations

import queue
import threading
from functools import partial

from flowevents import events as ev
from flowevents.errors import Conflict, JournalError, RunStateError, UnknownRun
from flowevents.journal.records import Message
from flowevents.testing.journals.bench import PATIENCE, Bench, equal, raises, together
from flowevents.testing.journals.script import Script, lose

__all__: list[str] = []


def check_who_drives_it(bench: Bench) -> None:
    """A run that is alive is refused, and by whom it is held is said; a released one is given."""
    script, run_id = bench.begin()
    raises(RunStateError, lambda: bench.two.take(run_id), run_id, "process", " on ", "take_over")
    raises(UnknownRun, lambda: bench.two.take(bench.new_id()), "check-")
    script.begin_step()
    script.say("stored with the release")
    script.lease.release()
    script.lease.release()
    raises(JournalError, lambda: script.write(ev.Progress, done=1.0), run_id)
    lease = bench.two.take(run_id)
    equal((lease.run_id, lease.seq, lease.losses), (run_id, 3, 0), "The lease")
    raises(RunStateError, lambda: bench.one.take(run_id), "process")
    lease.release()


def check_one_takes_it(bench: Bench) -> None:
    """Of many who want to go on with a run one does."""
    run_id = bench.new_id()
    Script(bench.one, run_id).lease.release()
    results = together(*(partial(each.take, run_id) for each in bench.all * 3))
    leases = [each for each in results if not isinstance(each, Exception)]
    errors = {type(each) for each in results if isinstance(each, Exception)}
    equal((len(leases), errors), (1, {RunStateError}), "Who has it")
    leases[0].release()


def check_a_pause(bench: Bench) -> None:
    """It gives the lease up, and then looks for messages; the same process may go on."""
    script, run_id = bench.begin_step()
    script.say("stored with the pause")
    equal(script.lease.pause(), [], "The messages")
    (said,) = [each for each in bench.two.runs("paused") if each.id == run_id]
    equal(said.seq, 3, "Its seq")
    raises(JournalError, lambda: script.write(ev.Progress, done=1.0), run_id, "paused")
    script.lease.take_again()
    raises(RunStateError, lambda: bench.two.take(run_id))
    bench.two.pause(run_id)
    (message,) = script.lease.pause()
    equal(message.kind, "pause", "What is there by then")
    script.lease.take_again()
    script.lease.drop(message)
    script.write(ev.Progress, done=1.0)
    equal(script.lease.pause(), [], "What was dropped")
    raises(UnknownRun, lambda: bench.two.pause(bench.new_id()))
    raises(UnknownRun, lambda: bench.two.cancel(bench.new_id()))
    script.lease.release()


def check_a_pause_that_others_end(bench: Bench) -> None:
    """Who has it, or has written meanwhile, is in the way of who paused it."""
    old, run_id = bench.begin_step()
    old.lease.pause()
    new = Script(bench.two, run_id, bench.two.take(run_id))
    raises(Conflict, old.lease.take_again, run_id, "process")
    new.write(ev.Retry, span=2, error="Lost")
    new.lease.release()
    raises(Conflict, old.lease.take_again, run_id)
    new.lease.take_again()
    new.lease.release()
    bench.two.cancel(run_id)
    raises(Conflict, new.lease.take_again, run_id)


def check_losses(bench: Bench) -> None:
    """They are counted in a row; the end of a step ends the row, a release is none of them."""
    script, run_id = bench.begin_step()
    script.lease.release()
    for losses in range(3):
        equal(run_id in bench.two.due(), True, f"Whether it is due after {losses} losses")
        lease = bench.two.take(run_id)
        equal(lease.losses, losses, "Its losses")
        lose(bench.two, lease)
    equal(run_id in bench.two.due(), False, "Whether it is due after 3 losses")
    script = Script(bench.one, run_id, bench.one.take(run_id))
    equal(script.lease.losses, 3, "Its losses")
    script.lease.release()
    equal(run_id in bench.two.due(), False, "Whether it is due after a release")
    script = Script(bench.one, run_id, bench.one.take(run_id))
    script.end_step("cancelled")
    script.lease.release()
    equal(run_id in bench.two.due(), False, "Whether it is due after a step was cancelled")
    script = Script(bench.one, run_id, bench.one.take(run_id))
    script.begin_step(2)
    script.end_step(step=2)
    lose(bench.one, script.lease)
    equal(run_id in bench.two.due(), True, "Whether it is due when a step has ended")
    lease = bench.two.take(run_id)
    equal(lease.losses, 1, "Its losses")
    lease.release()


def check_a_lease_that_is_taken_is_told(bench: Bench) -> None:
    """Also where its owner stores nothing; once."""
    script, run_id = bench.begin()
    told: queue.Queue[JournalError] = queue.Queue()
    script.lease.listen(lambda message: None, told.put)
    lease = bench.two.take(run_id, take_over=True)
    error = told.get(timeout=PATIENCE)
    equal(type(error), Conflict, "What is told")
    equal(raises(Conflict, lambda: script.write(ev.Progress, done=1.0)), error, "What is raised")
    lease.release()
    equal(told.empty(), True, "Whether it was told once")


def check_what_waits_is_lost_aloud(bench: Bench) -> None:
    """A chunk that cannot be stored any more is told as well."""
    script, run_id = bench.begin()
    told = threading.Event()
    script.lease.listen(lambda message: None, lambda error: told.set())
    lease = bench.two.take(run_id, take_over=True)
    try:
        script.say("too late")
    except Conflict:
        pass  # it has been told already
    equal(told.wait(PATIENCE), True, "Whether it was told")
    equal(lease.seq, 1, "What is stored")
    lease.release()


def check_listening(bench: Bench) -> None:
    """Each message once, also one that came before; none that was given otherwise."""
    script, run_id = bench.begin()
    bench.two.pause(run_id)
    (first,) = script.lease.inbox()
    bench.two.pause(run_id)
    heard: queue.Queue[Message] = queue.Queue()
    script.lease.listen(heard.put, lambda error: None)
    bench.two.cancel(run_id)
    bench.two.pause(run_id)
    found = [heard.get(timeout=PATIENCE) for _ in range(3)]
    equal([each.kind for each in found], ["pause", "cancel", "pause"], "The messages")
    ids = [first.id, *(each.id for each in found)]
    equal(sorted(set(ids)), ids, "Their ids in order")
    equal([each.id for each in script.lease.inbox()], ids, "What waits still")
    script.lease.drop(found[0])
    script.write(ev.Progress, taken=found[1], done=1.0)
    equal([each.id for each in script.lease.inbox()], [ids[0], ids[3]], "What waits then")
    script.end()
    equal(heard.empty(), True, "Whether each was heard once")
    raises(RunStateError, lambda: bench.two.pause(run_id), "done")
    raises(RunStateError, lambda: bench.two.cancel(run_id), "done")
