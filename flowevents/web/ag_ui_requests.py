"""What a request of an AG-UI client wants: a new run, or one that goes on with its answers.

A new run's `shared` is the request's `state` with its `messages`. What is wrong with a request is
an HTTP error, as the protocol has it for what is refused before a run starts.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from flowevents.errors import JournalError, ReplyError, RunStateError
from flowevents.events import Event, Interrupt
from flowevents.journal.journal import Journal
from flowevents.journal.mail import check_answer
from flowevents.web.ag_ui_events import AgUiEvents, Part, failure, frames, input_of, snapshot
from flowevents.web.bodies import is_id, object_of
from flowevents.web.driving import Runs
from flowevents.web.protocol import (
    SharedOf,
    check_flow,
    conversation,
    metadata_of,
    shared_of,
    stream,
)
from flowevents.web.waiting import told_before

if TYPE_CHECKING:
    from ag_ui.core import RunAgentInput

__all__ = ["respond"]

_TAKEN_WITHIN: Final = 1.0  # seconds; later it is taken by whoever goes on with the run
_LOOK_EVERY: Final = 0.02  # seconds


async def respond(runs: Runs, shared: SharedOf | None, request: Request) -> Response:
    """The stream of events that a request gets. Raises `HTTPException` and what `Runs` raises."""
    try:
        body = await object_of(request)
        asked = input_of(body)
        answers = _answers_in(asked)
    except (HTTPException, ValueError) as error:
        await runs.authorize(request, "start")  # who may not start learns nothing else
        if isinstance(error, HTTPException):
            raise
        raise HTTPException(422, f"The body is no RunAgentInput: {error}.") from None
    told: list[Event] = []
    if answers is None:
        run_id = await _start(runs, request, shared, asked, body)
    else:
        run_id, told = answers.run_id, await _answer(runs, request, answers)
    events = AgUiEvents(run_id, asked.thread_id, asked.run_id, answers.ids if answers else ())
    follower = await run_sync(runs.journal.follow, run_id, told[-1].seq if told else 0)
    began = await run_sync(events.begin, told)
    return stream(runs, run_id, follower, _Teller(runs, run_id, events, began))


class _Teller:
    """Tells of a run by AG-UI's events; before the last comes the run's state.

    Args:
        runs: Where the run is.
        run_id: Its id.
        events: Makes them.
        began: What comes first.
    """

    def __init__(self, runs: Runs, run_id: str, events: AgUiEvents, began: list[Part]) -> None:
        self._runs = runs
        self._run_id = run_id
        self._events = events
        self._began = began

    @property
    def has_ended(self) -> bool:
        return self._events.has_ended

    @property
    def may_have_ended(self) -> bool:
        return self._events.may_have_ended

    def begin(self) -> bytes:
        return frames(self._began)

    async def tell(self, event: Event) -> bytes:
        return await self._told(self._events.translate(event))

    async def end(self) -> bytes:
        if self.may_have_ended:
            return await self._told(self._events.wait())
        return frames([failure("The server tells no more of this run, which may go on.", "lost")])

    async def _told(self, parts: list[Part]) -> bytes:
        if self.has_ended:
            with suppress(JournalError):  # it was deleted meanwhile
                state = await run_sync(self._runs.state, self._run_id)
                parts.insert(-1, snapshot(state))
        return frames(parts)


# -- a new run -------------------------------------------------------------------------------------


async def _start(
    runs: Runs,
    request: Request,
    shared: SharedOf | None,
    asked: RunAgentInput,
    body: dict[str, Any],
) -> str:
    """Start a run, under the id that the client gives it where it can have that; returns its id."""
    await runs.authorize(request, "start")
    flow = request.path_params["flow"]
    check_flow(runs, flow)
    given = await shared_of(shared, request, body, conversation(body, "state"))
    metadata = metadata_of(body.get("forwardedProps"), thread=asked.thread_id)
    if is_id(asked.run_id):
        try:
            return (await runs.start(flow, given, asked.run_id, metadata)).id
        except RunStateError:
            pass  # it is taken
    return (await runs.start(flow, given, None, metadata)).id


# -- answers ---------------------------------------------------------------------------------------


class _Answers:
    """What a request says to the questions of one run.

    Attributes:
        run_id: The run.
        given: The answers, by the ids of their questions.
        left: The ids of the questions that shall not be answered.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.given: dict[str, Any] = {}
        self.left: set[str] = set()

    @property
    def ids(self) -> set[str]:
        """The questions that it names."""
        return {*self.given, *self.left}


def _answers_in(asked: RunAgentInput) -> _Answers | None:
    """The answers that a request has, if any. Raises `ValueError` where they make no sense."""
    answers: _Answers | None = None
    for entry in asked.resume or ():
        run_id, colon, question = entry.interrupt_id.partition(":")
        if not colon:
            raise ValueError(f"resume: {entry.interrupt_id!r} is no id of an interrupt")
        answers = answers or _Answers(run_id)
        if run_id != answers.run_id:
            raise ValueError(f"resume: it names two runs, {answers.run_id!r} and {run_id!r}")
        if question in answers.ids:
            raise ValueError(f"resume: {entry.interrupt_id!r} is there twice")
        if entry.status == "resolved":
            answers.given[question] = entry.payload
        else:
            answers.left.add(question)
    return answers


async def _answer(runs: Runs, request: Request, answers: _Answers) -> list[Event]:
    """Give a run its answers, all or none; returns what of it was told before.

    A run that waits for what it shall not get is cancelled.

    Raises `HTTPException`, `UnknownRun`, and `ReplyError` where an answer is refused.
    """
    run_id, flow = answers.run_id, request.path_params["flow"]
    if answers.given:
        await runs.authorize(request, "reply", run_id)
    if answers.left:
        await runs.authorize(request, "cancel", run_id)
    await runs.authorize(request, "watch", run_id)
    check_flow(runs, flow)
    return await run_sync(_put, runs.journal, flow, answers)


def _put(journal: Journal, flow: str, answers: _Answers) -> list[Event]:
    run_id = answers.run_id
    summary = journal.summary(run_id)
    if summary.flow != flow:
        raise HTTPException(404, f"Run {run_id} is one of the flow {summary.flow!r}.")
    told = told_before(journal.read(run_id), answers.ids)
    if not told:
        asked = ", ".join(map(repr, sorted(answers.ids)))
        raise HTTPException(
            404, f"No request ended with just these questions of run {run_id}: {asked}."
        )
    if answers.left & {each.id for each in summary.interrupts}:
        journal.cancel(run_id)
    else:
        _reply(journal, run_id, answers.given)
    return told


def _reply(journal: Journal, run_id: str, given: dict[str, Any]) -> None:
    """Give the answers that are still wanted, all or none. Raises `ReplyError`."""
    wanted = [each for each in journal.unanswered(run_id) if each.id in given]
    for question in wanted:
        check_answer(question, given[question.id])
    for id in [each.id for each in wanted] or given:  # none is wanted: the error says why
        journal.reply(run_id, given[id], id)
    for question in wanted:
        _await_taken(journal, run_id, question)


def _await_taken(journal: Journal, run_id: str, question: Interrupt) -> None:
    """Wait until a node has taken its answer, which whoever drives it now does soon.

    Raises `ReplyError` where it has refused it by itself.
    """
    until = time.monotonic() + _TAKEN_WITHIN
    while time.monotonic() < until:
        if question.id not in [each.id for each in journal.summary(run_id).interrupts]:
            return
        if question.id in [each.id for each in journal.unanswered(run_id)]:
            raise ReplyError(
                f"Node {question.node!r} does not take this answer to {question.prompt!r}. The "
                "server's log says why."
            )
        time.sleep(_LOOK_EVERY)
