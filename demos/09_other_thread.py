"""The same flow, answered from another thread, as a server's or a GUI's: `run.reply`."""

import queue
import sys
import threading

from demos.letter import Shared, letter
from demos.model import open_model
from demos.screen import show, start
from flowevents import Chunk, Interrupt, Run, RunCancelled, RunStateError

open_questions: queue.Queue[Interrupt | None] = queue.Queue()


def answer(run: Run) -> None:
    """Read an answer per question, until there are no more of either."""
    while (question := open_questions.get()) is not None:
        show(f"[{threading.current_thread().name}] {question.prompt} ", end="")
        line = sys.stdin.readline()
        if not line:
            run.cancel()
            return
        try:
            run.reply(line.strip(), question.id)
        except RunStateError:  # it was cancelled meanwhile
            return


def main() -> None:
    shared: Shared = {"question": "Lunch on Friday", "wishes": []}
    # "wait": where a node asks, the loop below waits for `run.reply` instead of ending.
    with open_model() as model, Run(letter(model), shared, on_pause="wait") as run:
        person = threading.Thread(target=answer, args=(run,), name="the other thread")
        person.start()
        try:
            for event in run:
                if isinstance(event, Chunk):
                    show(event.data, end="")
                elif isinstance(event, Interrupt):
                    open_questions.put(event)
        except RunCancelled:
            show("\n(cancelled)")
        finally:
            open_questions.put(None)
            person.join()


if __name__ == "__main__":
    start(main)
