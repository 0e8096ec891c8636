"""Journals in SQLite files: other files, files that break, and real processes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowevents import Flow, JournalError, Node, RunStateError, SQLiteJournal, UnknownRun
from flowevents.testing.journals.script import Script
from tests.driving import PATIENCE
from tests.journals.processes import begun, output


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be."""
    return tmp_path / "runs.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SQLiteJournal]:
    """A journal in that file."""
    with SQLiteJournal(path) as journal:
        yield journal


class Impatient(SQLiteJournal):
    """Does not wait for others for long."""

    patience = 0.05


def seqs(journal: SQLiteJournal, run_id: str) -> list[int]:
    """The numbers of the stored events."""
    return [each.seq for each in journal.read(run_id)]


# -- files ----------------------------------------------------------------------------------------


def test_the_file_is_private(path: Path, journal: SQLiteJournal) -> None:
    """Mode 0600, also of what SQLite puts beside it."""
    Script.whole(journal, "a")
    modes = {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {0o600}


def test_a_relative_path_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the process goes elsewhere."""
    monkeypatch.chdir(tmp_path)
    with SQLiteJournal("runs.db") as journal:
        monkeypatch.chdir("/")
        Script.whole(journal, "a")
        assert journal.runs()[0].status == "done"
    assert (tmp_path / "runs.db").exists()


def test_it_can_be_opened_again(path: Path) -> None:
    """All is there, to the last chunk."""
    with SQLiteJournal(path, durable="full") as journal:
        script = Script(journal, "a")
        script.begin_step()
        script.say("waits")
    with SQLiteJournal(path) as journal:
        assert seqs(journal, "a") == [1, 2, 3]
        assert journal.due() == ["a"]


def test_a_foreign_database_is_left_alone(path: Path) -> None:
    """Whatever its tables, its version or its name are."""
    for statement in ("CREATE TABLE runs (id)", "PRAGMA user_version = 1"):
        db = sqlite3.connect(path)
        db.execute(statement)
        db.commit()
        db.close()
        before = path.read_bytes()
        with pytest.raises(JournalError, match=r"runs\.db is a database of something else"):
            SQLiteJournal(path)
        assert path.read_bytes() == before
        path.unlink()


def test_a_newer_file_is_refused(path: Path) -> None:
    """It says what to do."""
    SQLiteJournal(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(JournalError, match=r"version 2.*Install a newer one"):
        SQLiteJournal(path)


@pytest.mark.parametrize("content", [b"no database at all, but a text" * 50, b"SQLite format 3\0"])
def test_a_file_of_something_else(path: Path, content: bytes) -> None:
    """It is refused, and left as it is."""
    path.write_bytes(content)
    with pytest.raises(JournalError) as caught:
        SQLiteJournal(path)
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Is a `JournalError`, too."""
    with pytest.raises(JournalError, match="nowhere") as caught:
        SQLiteJournal(tmp_path / "nowhere" / "runs.db")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_wrong_argument(path: Path) -> None:
    """It says what to give."""
    with pytest.raises(ValueError, match="'normal' or 'full'"):
        SQLiteJournal(path, durable="maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0"):
        SQLiteJournal(path, lease=0)


# -- files that break -----------------------------------------------------------------------------


def test_a_deleted_file(path: Path, journal: SQLiteJournal) -> None:
    """Nothing is written where nobody will ever read it."""
    lost: list[JournalError] = []
    told = threading.Event()
    script = Script(journal, "a")

    def on_lost(error: JournalError) -> None:
        lost.append(error)
        told.set()

    script.lease.listen(lambda message: None, on_lost)
    path.unlink()
    assert told.wait(PATIENCE)
    with pytest.raises(JournalError) as caught:
        script.begin_step()
    assert caught.value is lost[0]
    with pytest.raises(JournalError):
        journal.runs()


def test_another_file_in_its_place(path: Path, journal: SQLiteJournal) -> None:
    """It is another journal."""
    Script(journal, "a").lease.release()
    for each in path.parent.iterdir():
        each.unlink()
    SQLiteJournal(path).close()
    with pytest.raises(JournalError, match="Another file was put"):
        journal.take("a")


def test_a_corrupted_file(path: Path) -> None:
    """What cannot be read is an error, not an end."""
    with SQLiteJournal(path) as journal:
        for number in range(20):
            Script.whole(journal, f"run {number}")
    raw = bytearray(path.read_bytes())
    raw[4096:] = random.Random(1).randbytes(len(raw) - 4096)
    path.write_bytes(raw)
    with SQLiteJournal(path) as journal:
        with pytest.raises(JournalError) as caught:
            journal.runs()
        assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
        with pytest.raises(JournalError):
            Script(journal, "b")


def test_a_corrupted_event(path: Path, journal: SQLiteJournal) -> None:
    """The run and the event are named."""
    Script.whole(journal, "a")
    db = sqlite3.connect(path)
    db.execute("UPDATE log SET events = X'7b' WHERE id & 0xffff = 2")
    db.commit()
    db.close()
    events = journal.read("a")
    assert next(events).seq == 1
    with pytest.raises(JournalError, match="Event 2 of run a cannot be read"):
        next(events)
    with pytest.raises(JournalError, match="Event 2 of run a cannot be read"):
        list(journal.follow("a"))


def test_events_that_are_gone(path: Path, journal: SQLiteJournal) -> None:
    """A hole is said."""
    Script.whole(journal, "a")
    db = sqlite3.connect(path)
    db.execute("DELETE FROM log WHERE id & 0xffff = 2")
    db.commit()
    db.close()
    with pytest.raises(JournalError, match="has no event 2"):
        list(journal.read("a"))
    with pytest.raises(JournalError, match="has no event 2"):
        list(journal.follow("a"))


def test_a_locked_file(path: Path) -> None:
    """Who waits too long is told; the run can go on afterwards, and nothing was stored."""
    with Impatient(path) as journal:
        script = Script(journal, "a")
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            script.begin_step()
        with pytest.raises(JournalError, match="locked"):
            script.lease.release()
        assert seqs(journal, "a") == [1]
        db.execute("ROLLBACK")
        db.close()
        lease = journal.take("a", take_over=True)
        assert lease.seq == 1
        lease.release()


def test_a_full_disk(path: Path) -> None:
    """What is not stored is said, the lease given up if that can be, and the rest is whole."""
    said = output(
        """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = SQLiteJournal(sys.argv[1], lease=0.01)
script = Script(journal, "a")
script.begin_step()
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    while True:
        script.say("x" * 10_000)
        script.lease.flush()
        stored = script.lease.seq
except JournalError as error:
    say(stored, type(error.__cause__).__name__)
try:
    script.lease.release()
except JournalError:
    pass
assert len(list(journal.read("a"))) == stored
os._exit(0)
""",
        path,
    )
    stored, error = said.split()
    assert error == "OperationalError"
    with SQLiteJournal(path) as journal:
        assert seqs(journal, "a") == [*range(1, int(stored) + 1)]
        journal.take("a", take_over=True).release()


# -- processes ------------------------------------------------------------------------------------

WRITER = """
journal = SQLiteJournal(sys.argv[1], lease=0.2)
lease = None
while lease is None:
    try:
        lease = journal.take("a") if sys.argv[2:] else journal.begin("a", "agent", {})
    except RunStateError:
        pass
script = Script(journal, "a", lease)
say(lease.seq, lease.losses)
while True:
    script.write(Chunk, span=2, data="append")
    say(script.lease.seq)
    script.say("later", "later")
"""


def test_a_killed_writer(path: Path, journal: SQLiteJournal) -> None:
    """All that it was told is stored; another goes on as soon as its lease has run out."""
    chance = random.Random(7)
    start = Script(journal, "a")
    start.begin_step()
    start.lease.release()
    stored = 2
    for losses in range(5):
        with begun(WRITER, path, "take") as process:
            assert process.stdout is not None
            seq, lost = map(int, process.stdout.readline().split())
            assert (seq >= stored, lost) == (True, losses)
            for _ in range(chance.randrange(200)):
                stored = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            lines = process.stdout.read().split("\n")
            stored = max([stored, *(int(each) for each in lines[:-1])])
        found = seqs(journal, "a")
        assert found == [*range(1, len(found) + 1)]
        assert len(found) >= stored
    with begun(WRITER, path, "take") as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[1] == "5"
        assert journal.due() == []


def test_processes_race(path: Path) -> None:
    """For one id, for one lease, for each place in the log."""
    program = """
journal = SQLiteJournal(sys.argv[1])
sys.stdin.readline()
try:
    begun = Script(journal, "one").lease
    say("begun")
    begun.release()
except RunStateError:
    pass
won = 0
for _ in range(60):
    try:
        script = Script(journal, "two", journal.take("two", take_over=True))
        for _ in range(3):
            script.write(Chunk, span=1, node="", step=0, attempt=0, data="x")
            won += 1
    except Conflict:
        pass
say(won)
"""
    with SQLiteJournal(path) as journal:
        Script(journal, "two").lease.release()
        with begun(program, path) as a, begun(program, path) as b, begun(program, path) as c:
            processes = (a, b, c)
            for each in processes:
                assert each.stdin is not None
                each.stdin.write("\n")
                each.stdin.flush()
            results = [each.communicate(timeout=PATIENCE) for each in processes]
        assert [complaints for _, complaints in results] == ["", "", ""]
        said = [line for text, _ in results for line in text.splitlines()]
        assert said.count("begun") == 1
        said.remove("begun")
        assert seqs(journal, "two") == [*range(1, sum(map(int, said)) + 2)]


def test_a_zombie(path: Path, journal: SQLiteJournal) -> None:
    """Who was stopped, and wakes up when another has gone on, writes nothing more."""
    program = """
journal = SQLiteJournal(sys.argv[1], lease=0.2)
script = Script(journal, "a")
script.begin_step()
say("begun")
sys.stdin.readline()
try:
    script.write(Progress, done=1.0)
except Conflict as error:
    say(error)
"""
    with begun(program, path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        lease = None
        while lease is None:
            try:
                lease = journal.take("a")
            except RunStateError:
                pass  # its lease has not run out yet
        os.kill(process.pid, signal.SIGCONT)
        said, complaints = process.communicate("\n", timeout=PATIENCE)
        assert (complaints, "taken over by process" in said) == ("", True)
        assert (lease.losses, seqs(journal, "a")) == (1, [1, 2])
        lease.release()


def test_the_end_of_a_process(path: Path, journal: SQLiteJournal) -> None:
    """What waits is stored, and the run can be resumed at once."""
    output(
        """
journal = SQLiteJournal(sys.argv[1])
script = Script(journal, "a")
script.begin_step()
script.say("last words")
""",
        path,
    )
    assert seqs(journal, "a") == [1, 2, 3]
    assert journal.due() == ["a"]
    lease = journal.take("a")
    assert lease.losses == 0
    lease.release()


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_forks(path: Path, journal: SQLiteJournal) -> None:
    """While threads write: the child has no lease, and connections of its own."""
    said = output(
        """
journal = SQLiteJournal(sys.argv[1])
stop = threading.Event()

def write(number):
    script = Script(journal, f"parent {number}")
    script.begin_step()
    while not stop.is_set():
        script.say("x")
        script.lease.flush()
    script.lease.release()

held = Script(journal, "held")
held.begin_step()
threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
for each in threads:
    each.start()
for number in range(20):
    child = os.fork()
    if child == 0:
        try:
            held.write(Progress, done=1.0)
        except JournalError as error:
            assert "forked" in str(error), error
        Script.whole(journal, f"child {number}")
        assert [each.seq for each in journal.follow(f"child {number}")] == [*range(1, 8)]
        if number % 2:
            sys.exit()
        journal.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for each in threads:
    each.join()
held.write(Progress, done=1.0)
held.lease.release()
say(len(journal.runs("done")))
""",
        path,
    )
    assert said == "20\n"
    for run in journal.runs():
        assert seqs(journal, run.id) == [*range(1, run.seq + 1)]
    assert seqs(journal, "held") == [1, 2, 3]


def test_a_forked_child_outlives_its_parent(path: Path, journal: SQLiteJournal) -> None:
    """Another process that opens the file then changes nothing for it."""
    journal.close()
    program = """
journal = SQLiteJournal(sys.argv[1])
Script.whole(journal, "parent")
if os.fork():
    os._exit(0)
script = Script(journal, "child")
say(os.getpid())
for line in sys.stdin:
    script.write(Chunk, span=1, node="", step=0, attempt=0, data="x")
    say(script.lease.seq)
script.end()
"""
    with begun(program, path) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.wait(PATIENCE)
        for seq in range(2, 30):
            with SQLiteJournal(path) as other:
                Script.whole(other, f"other {seq}")
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line == f"{seq}\n"
        process.stdin.close()
        process.stdout.read()
    with SQLiteJournal(path) as other:
        assert seqs(other, "child") == [*range(1, 31)]
        assert {each.status for each in other.runs()} == {"done"}


def test_unknown_after_another_process_has_deleted_it(path: Path, journal: SQLiteJournal) -> None:
    """Who follows is told."""
    Script(journal, "a").lease.release()
    follower = journal.follow("a", 1, timeout=PATIENCE)
    output("SQLiteJournal(sys.argv[1]).delete('a')", path)
    with pytest.raises(UnknownRun):
        next(follower)


def test_another_handle_takes_no_locks_away(path: Path, journal: SQLiteJournal) -> None:
    """POSIX takes all of a process's locks on a file away with the first that it closes."""
    script = Script(journal, "a")
    with SQLiteJournal(path) as other:
        assert len(other.runs()) == 1
        output("SQLiteJournal(sys.argv[1]).close()", path)
        script.begin_step()
        assert output("print(len(list(SQLiteJournal(sys.argv[1]).read('a'))))", path) == "2\n"
    script.lease.release()


def test_a_long_log_is_deleted_in_portions(path: Path, journal: SQLiteJournal) -> None:
    """Others can write in between."""
    rows = 4_000

    class Step(Node):
        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
            shared["step"] += 1
            return "again" if shared["step"] < rows else "stop"

    step = Step()
    step - "again" >> step
    step - "stop" >> None
    Flow(step).run({"step": 0}, journal=journal, id="a")
    seen = set[int]()
    begun, ended = threading.Event(), threading.Event()

    def look() -> None:
        with contextlib.closing(sqlite3.connect(path)) as reader:
            while not ended.is_set():
                seen.update(reader.execute("SELECT count(*) FROM log").fetchone())
                begun.set()

    watching = threading.Thread(target=look)
    watching.start()
    assert begun.wait(PATIENCE)
    journal.delete("a")
    ended.set()
    watching.join(PATIENCE)
    assert max(seen) >= rows
    assert any(0 < count < rows for count in seen)
