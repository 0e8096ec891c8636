"""What a journal does in the background, and that it ends."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from flowevents import JournalError, MemoryJournal, SQLiteJournal
from flowevents.journal.records import Message
from flowevents.testing.journals.script import Script
from tests.driving import PATIENCE
from tests.journals.processes import output


@pytest.fixture
def journal() -> Iterator[MemoryJournal]:
    """A journal that is closed with the test."""
    with MemoryJournal(lease=0.2) as journal:
        yield journal


def threads() -> list[threading.Thread]:
    """Those of journals."""
    return [each for each in threading.enumerate() if each.name == "flowevents journal"]


def test_there_is_no_thread_without_need(journal: MemoryJournal) -> None:
    """Nor for reading; one for all runs."""
    assert (journal.runs(), threads()) == ([], [])
    leases = [journal.begin(str(number), "agent", {}) for number in range(3)]
    assert len(threads()) == 1
    for each in leases:
        each.release()


def test_the_thread_ends_when_nothing_is_left(journal: MemoryJournal) -> None:
    """It is not there for a journal that nobody uses, and comes back."""
    script = Script(journal, "a")
    follower = journal.follow("a")
    script.end()
    (thread,) = threads()
    del follower
    thread.join(PATIENCE)
    assert threads() == []
    journal.begin("b", "agent", {}).release()
    assert len(threads()) == 1


def test_a_lease_is_renewed(journal: MemoryJournal) -> None:
    """While it is held."""
    script = Script(journal, "a")
    found = journal._store.find("a")
    assert found is not None
    while True:
        later = journal._store.find("a")
        assert later is not None
        if later.until > found.until:
            break
    assert journal.due() == []
    script.lease.release()


def test_a_lease_that_nobody_holds_runs_out(journal: MemoryJournal) -> None:
    """The journal does not keep it, whoever listens."""
    script = Script(journal, "a")
    script.lease.listen(partial(print, script), lambda error: None)
    ref = weakref.ref(script.lease)
    del script
    gc.collect()
    assert ref() is None
    while journal.due() != ["a"]:
        pass
    lease = journal.take("a")
    assert lease.losses == 1
    lease.release()


def test_closing(tmp_path: Path) -> None:
    """What waits is stored, who drives is told, who follows too, and the run is due at once."""
    told: list[JournalError] = []
    with SQLiteJournal(tmp_path / "runs.db") as other:
        journal = SQLiteJournal(tmp_path / "runs.db")
        script = Script(journal, "a")
        script.begin_step()
        script.lease.listen(lambda message: None, told.append)
        follower = journal.follow("a", 2)
        script.say("waits")
        journal.close()
        journal.close()
        assert [str(each) for each in told] == ["The journal is closed. Open another one."]
        calls: list[Callable[[], object]] = [script.begin_step, script.lease.take_again]
        calls += [journal.runs, partial(next, follower)]
        for call in calls:
            with pytest.raises(JournalError, match="closed"):
                call()
        script.lease.release()
        assert [each.seq for each in other.read("a")] == [1, 2, 3]
        assert other.due() == ["a"]


def test_a_listener_that_fails(journal: MemoryJournal, caplog: pytest.LogCaptureFixture) -> None:
    """Is logged; the others hear, and it hears the next."""
    heard: list[str] = []
    done = threading.Event()

    def fail(message: Message) -> None:
        heard.append(message.kind)
        if len(heard) == 2:
            done.set()
        raise ValueError("no")

    script = Script(journal, "a")
    script.lease.listen(fail, lambda error: None)
    journal.pause("a")
    while not caplog.records:
        pass
    journal.cancel("a")
    assert done.wait(PATIENCE)
    assert heard == ["pause", "cancel"]
    assert "ValueError: no" in caplog.text
    script.lease.release()


def test_dropped_followers_leave_nothing(journal: MemoryJournal) -> None:
    """However many there were."""
    script = Script(journal, "a")
    script.begin_step()
    for _ in range(1_000):
        for _ in journal.follow("a"):
            break
    while journal._keeper._watches:
        pass
    script.lease.release()


def test_leases_that_come_and_go_while_others_are_looked_at(journal: MemoryJournal) -> None:
    """Disturb nobody, in whatever thread they do."""
    kept = [journal.begin(f"kept {number}", "agent", {}) for number in range(100)]
    looked, interval = threading.Event(), sys.getswitchinterval()

    def come_and_go() -> None:
        number = 0
        while not looked.is_set():
            journal.begin(f"gone {number}", "agent", {}).release()
            number += 1

    thread = threading.Thread(target=come_and_go)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(3_000):
            journal._keeper.flush("kept 0")
    finally:
        looked.set()
        thread.join()
        sys.setswitchinterval(interval)
    for each in kept:
        each.release()


def test_following_in_a_forked_process(tmp_path: Path) -> None:
    """It goes on there, too."""
    said = output(
        """
journal = SQLiteJournal(sys.argv[1])
script = Script(journal, "a")
follower = journal.follow("a")
assert next(follower).seq == 1
child = os.fork()
if child == 0:
    say([each.seq for each in follower])
    os._exit(0)
script.begin_step()
script.end()
assert [each.seq for each in follower] == [2, 3]
os.waitpid(child, 0)
""",
        tmp_path / "runs.db",
    )
    assert said == "[2, 3]\n"
