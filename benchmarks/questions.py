"""A question and its answer, against what people build for it today: two threads and two queues.

The node asks as often as it is told to. It is answered by a handler of `interrupt`; or by
`run.reply` between two loops over the run, which pauses at each question. The reference hands each
question to another thread by a `queue.Queue`, and gets the answer by another one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import Any

from flowevents import Answer, Ask, Flow, Interrupt, Run, StreamNode

from .measure import Comparison, expect

SIZE = 5_000


class Asks(StreamNode):
    """Asks `shared["questions"]` times, and adds up the answers."""

    keep_chunks = False

    def prep(self, shared: Any) -> Any:
        return shared["questions"]

    def exec_stream(self, prep_res: Any) -> Generator[Any, int, int]:
        total = 0
        for _ in range(prep_res):
            total += yield Ask("How many?")
        return total

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        shared["total"] = exec_res


class AnswersOne:
    """Answers every question with 1."""

    def on_interrupt(self, event: Interrupt) -> Answer[int]:
        """Answer it."""
        return Answer(1)


def answered_by_handler(questions: int) -> None:
    """A handler answers."""
    shared = {"questions": questions}
    Flow(Asks()).run(shared, observers=[AnswersOne()])
    expect(shared["total"], questions, "the answers added up")


def answered_by_reply(questions: int) -> None:
    """The run pauses at each question, and is answered and driven again."""
    shared = {"questions": questions}
    run = Run(Flow(Asks()), shared)
    pauses = 0
    while True:
        for _ in run:
            pass
        if run.status != "paused":
            break
        pauses += 1
        run.reply(1)
    expect(pauses, questions, "the pauses")
    expect(shared["total"], questions, "the answers added up")


def queues(questions: int) -> None:
    """Two threads and two queues."""
    asked: queue.Queue[str | None] = queue.Queue()
    answers: queue.Queue[int] = queue.Queue()

    def person() -> None:
        while asked.get() is not None:
            answers.put(1)

    thread = threading.Thread(target=person)
    thread.start()
    total = 0
    for _ in range(questions):
        asked.put("How many?")
        total += answers.get()
    asked.put(None)
    thread.join()
    expect(total, questions, "the answers added up")


WORKS = (
    Comparison("a question, answered by a handler", 0.6, SIZE, answered_by_handler, queues),
    Comparison("a question, answered by `run.reply`", 0.6, SIZE, answered_by_reply, queues),
)
