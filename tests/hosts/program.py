"""What a host does of a run: `python -m tests.hosts.program URL FILE HOST`.

It reads commands, a method of `Host` and a run's id on each line, and answers with a line of JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flowevents import Ask, AskNode, Flow, Node, RedisJournal, Run
from flowevents.testing import check_events

LEASE = 1.0


class First(Node):
    """Notes that it runs."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host

    def prep(self, shared: Any) -> Any:
        self.host.note(type(self).__name__)

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared[type(self).__name__] = self.host.name


class Approve(AskNode):
    """Asks."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Go on?", choices=["yes", "no"])

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["answer"] = exec_res


class Second(First):
    """Stays, on the host on which the run began, until that is told to go on."""

    def exec(self, prep_res: Any) -> None:
        self.host.second.release()
        if self.host.begins:
            self.host.go.acquire()


class Host:
    """What runs here, and what is watched."""

    def __init__(self, url: str, file: str, name: str) -> None:
        self.journal = RedisJournal(url, lease=LEASE)
        self.file, self.name = Path(file), name
        self.begins = False
        self.second, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.run: Run
        self.following: threading.Thread
        self.seen: list[int] = []

    def note(self, what: str) -> None:
        """Add a line to the file that all hosts share."""
        with self.file.open("a") as file:
            file.write(f"{what} {self.name}\n")

    def flow(self) -> Flow:
        """The flow of all runs."""
        first = First(self)
        first >> Approve() >> Second(self)
        return Flow(first)

    def begin(self, run_id: str) -> str:
        """Begin a run in the background, up to its question."""
        self.begins = True
        run = Run(self.flow(), {}, journal=self.journal, id=run_id, on_pause="wait")
        self.run = run.start()
        return next(e.signal for e in self.journal.follow(run_id) if e.signal == "interrupt")

    def answer(self, run_id: str) -> None:
        """Answer its question."""
        self.journal.reply(run_id, "yes")

    def watch(self, run_id: str) -> None:
        """Follow it in the background."""

        def follow() -> None:
            self.seen.extend(event.seq for event in self.journal.follow(run_id))

        self.seen = []
        self.following = threading.Thread(target=follow)
        self.following.start()

    def watched(self, _: str) -> list[int]:
        """The numbers of what was followed, once that has ended."""
        self.following.join()
        return self.seen

    def stand(self, _: str) -> None:
        """Return when the second step of a run has begun here."""
        self.second.acquire()

    def go_on(self, _: str) -> str | None:
        """Let that step end. Gives the name of the error with which the run ends here."""
        self.go.release()
        try:
            self.run.wait()
        except Exception as error:
            return type(error).__name__
        return None

    def resume(self, run_id: str) -> object:
        """Go on with a run as soon as it is due, to its end."""
        while run_id not in self.journal.due():
            time.sleep(0.02)
        run = Run.resume(self.flow(), self.journal, run_id)
        run.wait()
        self.second.acquire()
        return run.shared

    def check(self, run_id: str) -> str:
        """Its log is well-formed. Gives its status."""
        check_events(self.journal.read(run_id))
        return self.journal.summary(run_id).status


def main(url: str, file: str, name: str) -> None:
    """Do what is asked."""
    host = Host(url, file, name)
    for line in sys.stdin:
        what, _, run_id = line.strip().partition(" ")
        print(json.dumps(getattr(host, what)(run_id)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
