"""Runs as a Chrome trace, which Perfetto (https://ui.perfetto.dev) and chrome://tracing open.

The format is the JSON object format of "Trace Event Format" by Nat Duca and Dan Sinclair (Google,
October 2016): complete events (`"X"`), instant events (`"i"`) and metadata (`"M"`), with times in
microseconds. Slices of one thread nest by their times, and never overlap otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flowevents.escape import escape_controls
from flowevents.events import Event
from flowevents.observers.spans import RunSpans, Span, read_spans

__all__ = ["to_chrome_trace"]


def to_chrome_trace(events: Iterable[Event]) -> dict[str, Any]:
    """The runs that the events tell of, as a dict for `json.dump`.

    A run is a process, numbered from 1 and named after its flow. A flow, a step and an item are
    slices; in them stand the attempts, where there were several, and the questions. A first chunk
    is an instant. What runs beside something else, as parallel items do, has a thread of its own.
    Status, error, action, number of chunks and the like are a slice's `args`.

    Args:
        events: Of any number of runs, complete or not, interleaved or not. Times are microseconds
            since the first of them.
    """
    runs = read_spans(events)
    zero = min((run.start for run in runs), default=0.0)
    traced: list[dict[str, Any]] = []
    for pid, run in enumerate(runs, 1):
        traced.extend(_trace(run, pid, zero))
    return {"traceEvents": traced, "displayTimeUnit": "ms"}


def _trace(run: RunSpans, pid: int, zero: float) -> Iterator[dict[str, Any]]:
    name = f"{_plain(run.name or 'run')} {_plain(run.run_id)}"
    yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
    threads = _Threads()
    for span in sorted(run, key=lambda span: span.start):
        start, end = _microseconds(span.start, zero), _microseconds(span.end, zero)
        tid = threads.place(span, start, end)
        for slice_ in _slices(span, start, end, zero):
            yield {"pid": pid, "tid": tid, **slice_}
    for tid in range(1, threads.count + 1):
        name = "main" if tid == 1 else f"beside {tid - 1}"
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}


class _Threads:
    """Where a run's slices stand: what overlaps anything but what encloses it goes elsewhere."""

    def __init__(self) -> None:
        self._open: list[list[tuple[int, Span]]] = []  # of each thread, outermost first
        self._of: dict[int, int] = {}

    @property
    def count(self) -> int:
        """How many threads there are."""
        return len(self._open)

    def place(self, span: Span, start: int, end: int) -> int:
        """The thread of a slice that does not start before the others, from 1."""
        above = self._of.get(span.parent.span, 0) if span.parent else 0
        tids = (above, *range(1, self.count + 1)) if above else range(1, self.count + 1)
        tid = next((each for each in tids if self._has_room(each, span, start)), self.count + 1)
        if tid > self.count:
            self._open.append([])
        self._open[tid - 1].append((end, span))
        self._of[span.span] = tid
        return tid

    def _has_room(self, tid: int, span: Span, start: int) -> bool:
        stack = self._open[tid - 1]
        while stack and stack[-1][0] <= start and stack[-1][1] is not span.parent:
            stack.pop()
        return not stack or stack[-1][1] is span.parent


def _slices(span: Span, start: int, end: int, zero: float) -> Iterator[dict[str, Any]]:
    """A span's own slice, then what stands in it."""

    def inside(seconds: float) -> int:
        return max(start, min(_microseconds(seconds, zero), end))

    def slice_(name: str, left: int, right: int, **args: object) -> dict[str, Any]:
        known = {key: value for key, value in args.items() if value is not None}
        times = {"ts": left, "dur": right - left}
        return {"ph": "X", "cat": span.kind, "name": _plain(name), **times, "args": known}

    yield slice_(
        _name(span),
        start,
        end,
        node=_plain(span.node),
        items=list(span.items) or None,
        step=span.step or None,
        status=span.status or "no end in the record",
        error=_plain(span.error),
        action=_plain(span.action),
        attempts=len(span.attempts) if len(span.attempts) > 1 else None,
        chunks=span.chunks or None,
    )
    for attempt in span.attempts:
        left, right = inside(attempt.start), inside(attempt.end)
        if len(span.attempts) > 1:
            yield slice_(f"attempt {attempt.number}", left, right, error=_plain(attempt.error))
        for question in attempt.questions:
            yield slice_(
                "question",
                inside(question.start),
                inside(question.end),
                prompt=_plain(question.prompt),
                answer=_plain(question.answer),
            )
        if attempt.first_chunk is not None:
            instant = {"ph": "i", "s": "t", "cat": "chunk", "name": "first chunk"}
            yield {**instant, "ts": inside(attempt.first_chunk)}


def _name(span: Span) -> str:
    if span.kind == "item":
        number = f"item {span.items[-1]}" if span.items else "item"
        return f"{number} {span.label}" if span.label else number
    return span.name or span.kind


def _microseconds(seconds: float, zero: float) -> int:
    return round((seconds - zero) * 1e6)


def _plain(text: str | None) -> Any:
    """The text in one line without controls, or `None`."""
    return None if text is None else escape_controls(text, one_line=True)
