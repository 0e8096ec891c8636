"""What a list of events tells of: runs, and in each the flows, steps and items with their times.

The pictures are drawn from it. A record may lack its beginning, its end or any part between: a span
whose start is missing begins with the first event that names it, one without an end has the status
`None` and ends with what encloses it. Within a run time does not go back: a clock that was set back
goes on from where it was, and a time that no clock shows is that of the event before. So whatever
the events say, nothing here raises, and what is enclosed lies within what encloses it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, get_args

from flowevents import events as ev
from flowevents.events import Event, Status
from flowevents.observers.first_chunk import FirstChunk
from flowevents.observers.questions import wording
from flowevents.opened import End, Opened, OpenStarts, starts

__all__ = ["Attempt", "Question", "RunSpans", "Span", "read_spans"]

_FAR: Final = 1e11  # seconds; the year 5138: a time beyond it is none
_STATUSES: Final = get_args(Status)


@dataclass(slots=True, eq=False)
class Attempt:
    """One try of a step or item.

    Attributes:
        number: From 1.
        start, end: Seconds since the epoch; the pause before it is not part of it.
        first_chunk: When its first `"output"` chunk came, or `None`.
        first: How long that took, as of `FirstChunk`.
        error: Why another followed, or `None`.
        questions: In the order in which they were asked.
    """

    number: int
    start: float
    first: FirstChunk
    end: float = 0.0
    first_chunk: float | None = None
    error: str | None = None
    questions: list[Question] = field(default_factory=list)

    def close(self, end: float, *, given_up: bool) -> None:
        """It lasts until then, and with it the questions that are open."""
        self.start = min(self.start, end)  # the record ends in the pause before it
        self.end = end
        for question in self.questions:
            if question.open:
                question.end = end
                question.open = not given_up


@dataclass(slots=True, eq=False)
class Question:
    """A question, from when it was asked until it was answered, or given up with its attempt.

    Attributes:
        prompt: What was asked, as a text.
        start, end: Seconds since the epoch.
        open: Whether the record ends while it waits.
        answer: The answer as a text, or `None` where no reply is in the record.
    """

    id: str
    prompt: str
    start: float
    end: float = 0.0
    open: bool = True
    answer: str | None = None


class Span(Opened):
    """A flow, a step or a batch item, also when it has ended.

    Attributes:
        children: What it encloses, as it began.
        start, end: Seconds since the epoch.
        status: How it ended, or `None` where its end is not in the record.
        error: What its end says.
        action: What its `Action` says, or the run's last one.
        moved: Whether an `Action` of it is in the record.
        attempts: At least one.
        chunks: How many `"output"` chunks came, those of void attempts included.
    """

    __slots__ = (
        *("action", "attempts", "children", "chunks", "end"),
        *("error", "moved", "start", "status"),
    )

    parent: Span | None

    def __init__(self, event: Event, parent: Span | None, start: float) -> None:
        super().__init__(event, parent)
        self.children: list[Span] = []
        self.start: float = start
        self.end: float = start
        self.status: Status | None = None
        self.error: str | None = None
        self.action: str | None = None
        self.moved: bool = False
        self.attempts: list[Attempt] = [Attempt(max(event.attempt, 1), start, FirstChunk(event))]
        self.chunks: int = 0

    @property
    def name(self) -> str:
        """The flow's name, or the last part of the node's path."""
        event = self.event
        return event.flow if isinstance(event, ev.FlowStart) else event.node.split("/")[-1]

    @property
    def questions(self) -> list[Question]:
        """In the order in which they were asked."""
        return [question for attempt in self.attempts for question in attempt.questions]

    @property
    def is_waiting(self) -> bool:
        """Whether the record ends while a question of it is open."""
        return any(question.open for question in self.questions)

    def close(self, end: float) -> None:
        """It lasts until then, and with it its last attempt and the questions that are open."""
        self.end = max(self.start, _inside(self.parent, end))
        self.attempts[-1].close(self.end, given_up=self.status is not None)

    def retry(self, event: ev.Retry, now: float) -> None:
        """An attempt failed and another follows after the pause."""
        last = self.attempts[-1]
        last.close(now, given_up=True)
        last.error = event.error
        pause = event.wait if 0 < event.wait < _FAR else 0.0
        self.attempts.append(Attempt(last.number + 1, last.end + pause, FirstChunk(event)))

    def reply(self, event: ev.Reply, now: float) -> None:
        """A question was answered."""
        for question in reversed(self.questions):
            if question.id == event.id and question.open:
                question.end = now
                question.open = False
                question.answer = wording(event.value)
                return


class RunSpans:
    """What is known of one run.

    Attributes:
        run_id: The run.
        roots: The run's own flow, or what else is not enclosed by anything known.
        start, end: The earliest and the latest time of its events, in seconds since the epoch.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id: str = run_id
        self.roots: list[Span] = []
        self.start: float = 0.0
        self.end: float = 0.0
        self._spans: dict[int, Span] = {}  # all of them
        self._open: OpenStarts[Span] = OpenStarts(self._make)
        self._last: float | None = None  # the time of the last event, by the clock
        self._set_back = 0.0  # how much the clock was set back in all

    def __iter__(self) -> Iterator[Span]:
        """Every span, each before those that it encloses."""
        waiting = self.roots[::-1]
        while waiting:
            span = waiting.pop()
            yield span
            waiting.extend(reversed(span.children))

    @property
    def flow(self) -> Span | None:
        """The run's own flow, if the record knows it."""
        first = self.roots[0] if self.roots else None
        return first if first and first.kind == "flow" and not first.node else None

    @property
    def name(self) -> str:
        """The name of the run's own flow, or `""`."""
        return self.flow.name if self.flow else ""

    def take(self, event: Event) -> None:
        """Take the next event of the run."""
        now = self._time(event.time)
        if starts(event):
            if event.span not in self._spans:
                self._open.begin(event)
        elif isinstance(event, ev.Action):
            span = self._spans.get(event.span)
            if span is not None:
                span.moved, span.action = True, event.action
        elif isinstance(event, End):
            self._end(event, now)
        elif isinstance(event, (ev.Chunk, ev.Retry, ev.Interrupt, ev.Reply)):
            self._happen(event, now)

    def finish(self) -> None:
        """There are no more events: what is open lasts until the last one."""
        for span in self._open.by_span.values():  # each after what encloses it
            span.close(span.parent.end if span.parent else self.end)

    def _time(self, time: float) -> float:
        """When an event happened."""
        if not 0 <= time < _FAR:  # NaN is not, either
            time = self._last or 0.0
        if self._last is None:
            self.start = time
        elif time < self._last:
            self._set_back += self._last - time
        self._last = time
        self.end = time + self._set_back
        return self.end

    def _make(self, event: Event, parent: Span | None) -> Span:
        parent = parent or self._spans.get(getattr(event, "parent", 0)) or self.flow
        span = self._spans[event.span] = Span(event, parent, _inside(parent, self.end))
        (parent.children if parent else self.roots).append(span)
        return span

    def _end(self, event: End, now: float) -> None:
        span = self._spans.get(event.span) or self._open.begin(event)
        if span.status is not None:
            return  # the record says it twice
        if not span.began:
            span.event = event  # it says what it is
            if 0 <= event.duration < _FAR:
                self._began_earlier(span, now - event.duration)
        span.status = event.status if event.status in _STATUSES else "error"
        span.error = event.error
        if isinstance(event, ev.FlowEnd):
            span.action = event.action
        if self._open.of(event) is span:
            for each in reversed(self._open.close(span)):
                each.close(now)
        else:
            span.close(span.end)  # with what encloses it, before

    def _began_earlier(self, span: Span, start: float) -> None:
        earliest = span.parent.start if span.parent else 0.0
        span.start = min(span.start, max(earliest, start))
        if span.attempts[0].number == 1:
            span.attempts[0].start = span.start
        self.start = min(self.start, span.start)

    def _happen(self, event: ev.Chunk | ev.Retry | ev.Interrupt | ev.Reply, now: float) -> None:
        span = self._open.of(event)
        if span is None:
            if event.span in self._spans:
                return  # it has ended: nothing more happens in it
            span = self._open.begin(event)
        now = _inside(span.parent, now)
        attempt = span.attempts[-1]
        attempt.start = min(attempt.start, now)  # its pause was shorter than was said
        if isinstance(event, ev.Retry):
            span.retry(event, now)
            return
        attempt.first.take(event)
        if isinstance(event, ev.Interrupt):
            attempt.questions.append(Question(event.id, wording(event.prompt), now))
        elif isinstance(event, ev.Reply):
            span.reply(event, now)
        elif event.kind == "output":
            span.chunks += 1
            if attempt.first_chunk is None:
                attempt.first_chunk = now


def _inside(span: Span | None, time: float) -> float:
    """The time, or the nearest one that the span and all around it still were open."""
    if span is not None:
        time = max(time, span.start)
    while span is not None:
        if span.status is not None:
            time = min(time, span.end)
        span = span.parent
    return time


def read_spans(events: Iterable[Event]) -> list[RunSpans]:
    """What the events tell of, a run after the other as each begins.

    Args:
        events: Of any number of runs, interleaved or not; each run's own in order. They are read
            once.
    """
    if isinstance(events, (str, bytes, os.PathLike)):
        raise TypeError(f"{events!r} is no list of events: read_events({events!r}) gives those.")
    runs: dict[str, RunSpans] = {}
    for event in events:
        run = runs.get(event.run_id)
        if run is None:
            run = runs[event.run_id] = RunSpans(event.run_id)
        run.take(event)
    for run in runs.values():
        run.finish()
    return list(runs.values())
