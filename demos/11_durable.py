"""An agent that kills itself in the middle, is started again, goes on, and asks."""

import os
import signal
import subprocess
import sys
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any

from demos.letter import Shared, letter
from demos.model import open_model
from demos.screen import plain, show, start
from flowevents import Chunk, Flow, Interrupt, Node, Retry, Run, SQLiteJournal


class Look(Node):
    """A step that takes its time. It has ended when the process dies, and does not run again."""

    def exec(self, prep_res: Any) -> str:
        show("(looking into the calendar, once)")
        return "Lunch on Friday"

    def post(self, shared: Shared, prep_res: Any, exec_res: str) -> None:
        shared["question"] = exec_res


class Screen:
    """Shows what comes, and how to answer."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_chunk(self, event: Chunk) -> None:
        show(event.data, end="")

    def on_retry(self, event: Retry) -> None:
        show(f"({event.node} begins again. {event.error})")

    def on_interrupt(self, event: Interrupt) -> None:
        command = f"{sys.executable} -m flowevents"
        show(f"{plain(event.prompt)} In another terminal:")
        show(f"    {command} reply {self.path} {event.run_id} yes")
        show(f"    {command} watch {self.path} {event.run_id} --answer")


class Dies:
    """Kills its own process in the middle of the letter: no `finally` runs, nothing is closed."""

    def __init__(self) -> None:
        self.chunks = count(1)

    def on_chunk(self, event: Chunk) -> None:
        if next(self.chunks) == 5:
            os.kill(os.getpid(), signal.SIGKILL)


def work(path: str) -> None:
    """What each process does: go on with the run, or begin it."""
    screen: list[Any] = [Screen(path)]
    with open_model() as model, SQLiteJournal(path) as journal:
        look = Look()
        look >> letter(model)
        flow = Flow(look)
        if journal.runs():
            # The other process is known to be dead: do not wait until its lease runs out.
            run = Run.resume(
                flow, journal, "lunch", observers=screen, on_pause="wait", take_over=True
            )
        else:
            shared: Shared = {"wishes": []}
            observers = [*screen, Dies()]
            run = Run(
                flow, shared, journal=journal, id="lunch", observers=observers, on_pause="wait"
            )
        run.wait()


def main() -> None:
    with TemporaryDirectory() as folder:
        command = [sys.executable, __file__, os.path.join(folder, "runs.db")]
        while (code := subprocess.run(command, check=False).returncode) == -signal.SIGKILL:
            show("\n(killed; another process is started)")
    raise SystemExit(code)


if __name__ == "__main__":
    start(main if len(sys.argv) == 1 else lambda: work(sys.argv[1]))
