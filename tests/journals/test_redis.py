"""Journals in Redis: the server dies, comes back, and forgets; real processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from flowevents import Conflict, EventsLost, JournalError, RedisJournal, UnknownRun
from flowevents.events import Chunk
from flowevents.journal.store import Row
from flowevents.testing.journals.script import Script
from tests.driving import PATIENCE, in_thread
from tests.journals.processes import begun, output
from tests.journals.server import Server, redis_server


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests that leave it as it is."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server to be killed."""
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Server]:
    """A server that is started without persistence."""
    with redis_server(tmp_path, durable=False) as server:
        yield server


class Impatient(RedisJournal):
    """Does not wait for a server for long."""

    patience = 0.05


def seqs(journal: RedisJournal, run_id: str) -> list[int]:
    """The numbers of the stored events."""
    return [each.seq for each in journal.read(run_id)]


def test_killed_and_restarted_under_load(server: Server) -> None:
    """Writers, followers, answers: nothing is lost, and nothing is there twice."""
    kills, steps = 4, 60
    half = threading.Semaphore(0)

    def write(number: int) -> None:
        with RedisJournal(server.url) as journal:
            script = Script(journal, f"run {number}")
            for step in range(1, steps + 1):
                script.begin_step(step)
                script.say("a", "b", step=step)
                script.ask(f"q{step}", step=step)
                journal.reply(f"run {number}", step, f"q{step}")
                script.write(Chunk, taken=script.lease.inbox()[0], kept=b"[1]", data="c", step=step)
                script.end_step(step=step, target="Plan")
                if step % (steps // kills) == steps // kills // 2:
                    half.release()
            script.end()

    def follow(number: int) -> list[int]:
        with RedisJournal(server.url) as journal:
            return [each.seq for each in journal.follow(f"run {number}", timeout=PATIENCE)]

    failed: list[BaseException] = []
    followed: dict[int, list[int]] = {}

    def noting(call: partial[object], number: int) -> None:
        try:
            result = call(number)
            if isinstance(result, list):
                followed[number] = result
        except BaseException as error:
            failed.append(error)

    with RedisJournal(server.url) as journal:
        writers = [threading.Thread(target=noting, args=(partial(write), n)) for n in range(3)]
        for each in writers:
            each.start()
        while len(journal.runs()) < 3:
            pass
        followers = [threading.Thread(target=noting, args=(partial(follow), n)) for n in range(3)]
        for each in followers:
            each.start()
        for _ in range(kills):
            half.acquire(timeout=PATIENCE)
            server.kill()
            server.start()
        for each in (*writers, *followers):
            each.join(PATIENCE)
        assert failed == []
        expected = [*range(1, 7 * steps + 3)]
        for number in range(3):
            assert seqs(journal, f"run {number}") == expected
            assert followed[number] == expected
        assert {each.status for each in journal.runs()} == {"done"}


def test_a_server_that_is_gone(server: Server) -> None:
    """Who waits too long is told, what drives a run too, and its cause is there."""
    lost: list[JournalError] = []
    told = threading.Event()
    with Impatient(server.url) as journal:
        script = Script(journal, "a")

        def on_lost(error: JournalError) -> None:
            lost.append(error)
            told.set()

        script.lease.listen(lambda message: None, on_lost)
        follower = journal.follow("a", 1, timeout=PATIENCE)
        server.kill()
        with pytest.raises(JournalError) as caught:
            next(follower)
        assert type(caught.value.__cause__).__module__ == "redis.exceptions"
        assert told.wait(PATIENCE)
        with pytest.raises(JournalError) as caught:
            script.begin_step()
        assert caught.value is lost[0]
        for call in (journal.runs, partial(journal.begin, "b", "flow", {}), script.lease.release):
            with pytest.raises(JournalError):
                call()
        server.start()
        lease = journal.take("a", take_over=True)
        assert lease.seq == 1
        lease.release()


def test_a_server_that_forgets(forgetful: Server) -> None:
    """It has lost all: who goes on, who follows, and who asks hears so."""
    with RedisJournal(forgetful.url) as journal:
        script = Script(journal, "a")
        script.begin_step()
        follower = journal.follow("a", 2, timeout=PATIENCE)
        forgetful.kill()
        forgetful.start()
        with pytest.raises(UnknownRun, match="deleted, or lost"):
            script.end_step()
        with pytest.raises(UnknownRun):
            next(follower)
        with pytest.raises(UnknownRun):
            journal.take("a")
        assert journal.runs() == []


def test_a_server_that_forgets_the_end_of_a_log(lasting: Server) -> None:
    """As one does that writes to its disk once a second: the run does not go on over a hole."""
    import redis

    with RedisJournal(lasting.url, "forgets:") as journal:
        script = Script(journal, "a")
        script.begin_step()
        script.say("a", "b", "c")
        script.lease.flush()
        follower = journal.follow("a", 5, timeout=PATIENCE)
        with redis.Redis.from_url(lasting.url) as client:
            client.xdel("forgets:log:a", "0-4", "0-5")
        with pytest.raises(EventsLost, match="3 events in the journal, where 5 had been stored"):
            script.end_step()
        with pytest.raises(EventsLost, match="ends with event 3, and has no event 5"):
            next(follower)
        script.lease.release()


def test_scripts_that_are_gone(lasting: Server) -> None:
    """A server forgets those as well, and gets them again."""
    import redis

    with RedisJournal(lasting.url, "scripts:") as journal:
        script = Script(journal, "a")
        with redis.Redis.from_url(lasting.url) as client:
            client.script_flush()
        script.begin_step()
        script.end()
        assert seqs(journal, "a") == [1, 2, 3]


def test_time_to_live(lasting: Server) -> None:
    """It begins with the run's end, and what is left of an expired run disturbs nobody."""
    import redis

    with (
        RedisJournal(lasting.url, "ttl:", ttl=1_000) as journal,
        redis.Redis.from_url(lasting.url) as client,
    ):
        script = Script(journal, "a")
        journal.pause("a")
        assert {client.ttl(each) for each in client.keys("ttl:*:a")} == {-1}
        script.end()
        keys = sorted(client.keys("ttl:*:a"))
        assert keys == [b"ttl:log:a", b"ttl:run:a"]
        assert all(990 <= client.ttl(each) <= 1_000 for each in keys)
        Script.whole(journal, "b")
        client.unlink(*keys)
        assert [each.id for each in journal.runs()] == ["b"]
        with pytest.raises(UnknownRun):
            journal.read("a")
        Script.whole(journal, "a")
        assert [each.id for each in journal.runs()] == ["a", "b"]
    with pytest.raises(ValueError, match="ttl=0"):
        RedisJournal(lasting.url, ttl=0)


def test_prefixes_keep_apart(lasting: Server) -> None:
    """Two journals in one server."""
    with RedisJournal(lasting.url, "one:") as one, RedisJournal(lasting.url, "two:") as two:
        Script.whole(one, "a")
        assert two.runs() == []
        Script.whole(two, "a")
        one.delete("a")
        assert seqs(two, "a") == [*range(1, 8)]


def test_a_wrong_password(lasting: Server) -> None:
    """Is said at once: nobody waits for it to become right."""
    import redis

    with redis.Redis.from_url(lasting.url) as client:
        client.acl_setuser("ada", enabled=True, passwords=["+right"])
    url = lasting.url.replace("redis://", "redis://ada:wrong@")
    with RedisJournal(url) as journal, pytest.raises(JournalError, match="username-password"):
        in_thread(journal.runs)


def test_killed_writers(lasting: Server) -> None:
    """Another process goes on when the lease has run out by the server's clock."""
    program = """
journal = RedisJournal(sys.argv[1], "killed:", lease=0.2)
script = Script(journal, "a")
script.begin_step()
while True:
    script.say("x")
    script.lease.flush()
    say(script.lease.seq)
"""
    with RedisJournal(lasting.url, "killed:") as journal:
        with begun(program, lasting.url) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(20)]
            process.kill()
            told = int((process.stdout.read().split("\n")[:-1] or said)[-1])
        while journal.due() != ["a"]:
            pass
        lease = journal.take("a")
        assert lease.losses == 1
        assert lease.seq >= told
        assert seqs(journal, "a") == [*range(1, lease.seq + 1)]
        lease.release()


def test_a_forked_process(lasting: Server) -> None:
    """Has connections of its own, and no lease."""
    said = output(
        """
journal = RedisJournal(sys.argv[1], "forked:")
held = Script(journal, "held")
for number in range(5):
    child = os.fork()
    if child == 0:
        try:
            held.begin_step()
        except JournalError:
            Script.whole(journal, f"child {number}")
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
held.begin_step()
held.end()
say(len(journal.runs("done")))
""",
        lasting.url,
    )
    assert said == "6\n"


def test_who_takes_a_run_over_knows_its_last_event(lasting: Server) -> None:
    """Also where the one who had it adds one at that moment."""
    with RedisJournal(lasting.url, "moment:") as one, RedisJournal(lasting.url, "moment:") as two:
        script = Script(one, "a")

        def take(row: Row | None, now: float) -> tuple[Row | None, Row | None]:
            assert row is not None
            script.begin_step()
            row.owner = "another"
            return row, row

        row = two._store.update("a", take)
        assert row is not None
        assert (row.summary.seq, len(seqs(two, "a"))) == (2, 2)
        with pytest.raises(Conflict):
            script.end_step()
