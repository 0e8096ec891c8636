"""The fold of events into what the display knows. Nothing here draws or waits.

Records may be truncated: an event whose start is missing opens a step itself, an end closes what
is left open below it, and nothing that an event holds raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Final

from flowevents import events as ev
from flowevents.events import Event, Status
from flowevents.observers import figures
from flowevents.observers.display.speech import OUTPUT, Block, Speech
from flowevents.observers.display.state import (
    Answered,
    Asked,
    Ended,
    Entry,
    Row,
    Run,
    Said,
    Step,
    Way,
)
from flowevents.observers.first_chunk import FirstChunk
from flowevents.opened import End, Start

__all__ = ["Watch", "result_of", "shower"]

_ENDED: Final = 1_000  # so many runs that have ended are remembered, to ignore what comes late


def shower(
    show: str | Iterable[str] | Callable[[str], bool] | None,
) -> Callable[[str], bool] | None:
    """Whether the node of a path is shown, or `None` where all are.

    Args:
        show: A path, or several; `*`, `?` and `[…]` match as in file names, and `*` also `/`. Or
            a function of a path.
    """
    if show is None or callable(show):
        return show
    patterns = (show,) if isinstance(show, str) else tuple(show)
    return lambda path: any(path == each or fnmatchcase(path, each) for each in patterns)


class Watch:
    """What is known of all runs that are watched; not thread-safe.

    Args:
        shows: Whether a node, named by its path, is shown; asked once per path and run.

    Attributes:
        runs: Those that are open, by id.
        entries: What has come up and is to stay on the screen; who draws it empties the list.
        several: Whether more than one was open at the same time, since all had ended.
        questions: The open ones, by run and id, with the time on the display's clock after which
            nobody can answer any more.
    """

    def __init__(self, shows: Callable[[str], bool] | None = None) -> None:
        self.runs: dict[str, Run] = {}
        self.entries: list[Entry] = []
        self.questions: dict[tuple[str, str], float] = {}
        self.several: bool = False
        self._shows = shows
        self._numbers = 0
        self._ended: dict[str, None] = {}

    def take(self, event: Event, now: float) -> None:
        """Fold an event in; `now` is the display's clock, in seconds."""
        run = self.run_of(event, now)
        if run is None:
            return
        if isinstance(event, Start):
            self._start(run, event, now)
        elif isinstance(event, ev.Action):
            self._act(run, event)
        elif event.seq not in run.asked:  # else it is a question that was heard before
            step = run.opens.of(event) or self._step(run, event, now)
            _FOLDS[type(event)](self, run, step, event, now)

    def leave(self) -> None:
        """Let go of the runs that are open, each as it is now."""
        for run in list(self.runs.values()):
            for step in run.steps.values():
                if step.speech.blocks:
                    self.entries.append(self._said(run, step, None))
            self._leave(run)

    # -- runs ---------------------------------------------------------------------------------

    def run_of(self, event: Event, now: float) -> Run | None:
        """The run of an event, which its first one opens; `None` for what shows nothing."""
        known = self.runs.get(event.run_id)
        if known is not None:
            return known
        again = isinstance(event, ev.FlowStart) and event.parent == 0
        late = event.run_id in self._ended and not again
        if late or isinstance(event, ev.UnknownEvent):
            return None
        self._ended.pop(event.run_id, None)
        self._numbers += 1
        name = event.flow if isinstance(event, ev.FlowStart) and again else event.run_id
        run = Run(event.run_id, self._numbers, Row("", name), now)
        run.rows[""] = run.root
        self.runs[event.run_id] = run
        self.several = self.several or len(self.runs) > 1
        return run

    def _leave(self, run: Run) -> None:
        self._release(run, None)
        del self.runs[run.id]
        self.entries.append(Ended(self.number(run), "", (), run))
        self._forget_questions(run)
        self._ended[run.id] = None
        if len(self._ended) > _ENDED:
            del self._ended[next(iter(self._ended))]
        if not self.runs:
            self.several = False

    def _forget_questions(self, run: Run) -> None:
        for key in [key for key in self.questions if key[0] == run.id]:
            del self.questions[key]
        run.asked.clear()

    def number(self, run: Run) -> int:
        """The run's number, or 0 where there is one run alone."""
        return run.number if self.several else 0

    def _row(self, run: Run, path: str) -> Row | None:
        """The row of a path, made at its first event under the nearest one that is there."""
        if path in run.rows:
            return run.rows[path]
        row = None
        if self._shows is None or self._shows(path):
            above, rest = run.root, path
            for place in range(len(path) - 1, 0, -1):
                if path[place] == "/" and (found := run.rows.get(path[:place])) is not None:
                    above, rest = found, path[place + 1 :]
                    break
            row = Row(path, rest)
            above.rows.append(row)
        run.rows[path] = row
        return row

    # -- starts -------------------------------------------------------------------------------

    def _step(self, run: Run, event: Event, now: float) -> Step:
        row = self._row(run, event.node)
        step = run.opens.begin(event)
        step.row, step.seen = row, now
        if step.among is not None:
            step.among.open += 1
        if row is not None and step.kind != "item":
            row.open[event.span] = step
            row.started += 1
        return step

    def _start(self, run: Run, event: Start, now: float) -> None:
        if event.span in run.steps:  # the same run once more, or a record that repeats itself
            self._drop(run, run.steps[event.span])
            if event.parent == 0:
                self._forget_questions(run)
        step = self._step(run, event, now)
        if isinstance(event, ev.ItemStart) and step.among is not None:
            step.among.total = event.total

    # -- what comes between -------------------------------------------------------------------

    def _chunk(self, run: Run, step: Step, event: ev.Chunk, now: float) -> None:
        step.retry = None
        step.first.take(event)
        if step.among is not None:
            step.among.spoke = True
        if step.row is not None:
            step.speech.add(event.data, event.kind, event.time)

    def _progress(self, run: Run, step: Step, event: ev.Progress, now: float) -> None:
        step.way = Way(event, now if step.way is None else step.way.seen)

    def _retry(self, run: Run, step: Step, event: ev.Retry, now: float) -> None:
        if step.row is not None:
            step.row.retries += 1
            said = self._said(run, step, None)
            said.blocks = step.speech.shown + said.blocks  # all of it is void
            said.retry, said.error = event, event.error
            self.entries.append(said)
        step.retry = event
        step.speech = Speech()
        step.way = None
        step.attempt = event.attempt + 1
        step.first = FirstChunk(event)

    def _ask(self, run: Run, step: Step, event: ev.Interrupt, now: float) -> None:
        run.asked.add(event.seq)
        step.questions[event.id] = event
        step.first.take(event)
        left = float("inf") if event.expires is None else event.expires - event.time
        self.questions[run.id, event.id] = now + left
        asked = Asked(self.number(run), event.node, event.items, event)
        speech = step.speech
        if speech.blocks:  # what the question is about has to be seen
            asked.about = self._said(run, step, None)
            asked.about.so_far = True
            speech.shown += speech.blocks
            speech.blocks = []
        self.entries.append(asked)

    def _reply(self, run: Run, step: Step, event: ev.Reply, now: float) -> None:
        step.first.take(event)
        question = step.questions.pop(event.id, None)
        if question is not None:
            step.speech.pause(event.time - question.time)
        self.questions.pop((run.id, event.id), None)
        self.entries.append(Answered(self.number(run), event.node, event.items, event))

    # -- ends ---------------------------------------------------------------------------------

    def _said(self, run: Run, step: Step, status: Status | None) -> Said:
        speech = step.speech
        return Said(
            self.number(run),
            step.node or run.root.name,
            step.items,
            speech.blocks,
            status,
            first=step.first.seconds if speech.chunks else None,
            rate=speech.rate(),
        )

    def _end(self, run: Run, step: Step, event: End, now: float) -> None:
        self._drop(run, step)
        self._release(run, step)
        row = step.row
        if step.kind == "item":
            self._count_item(step, event)
        elif row is not None:
            row.status = event.status
            row.spent += event.duration
        if row is not None:
            self._keep(run, step, event)
        if not event.node and step.kind != "item":
            self._leave(run)

    def _count_item(self, step: Step, event: End) -> None:
        if step.row is not None:
            step.row.items += 1
        if isinstance(event, ev.ItemEnd) and (batch := step.among) is not None:
            batch.done, batch.total = event.done, event.total

    def _keep(self, run: Run, step: Step, event: End) -> None:
        """Keep what it said and, once, the error with which it failed."""
        new = event.status == "error" and event.error != run.error
        if event.error is not None:
            run.error = event.error
        result = result_of(step, event)
        if not step.speech.blocks and result is None and not new:
            return
        said = self._said(run, step, event.status)
        if result is not None:
            said.blocks = [result]
        said.duration = event.duration
        said.error = event.error if new else None
        if event.status == "ok" and step.kind != "item":
            run.late[step.span] = step.parent, said
        else:
            self.entries.append(said)

    def _drop(self, run: Run, step: Step) -> None:
        """Close a step, and what a record that lacks ends has left open below it."""
        for each in run.opens.close(step):
            if each.row is not None:
                each.row.open.pop(each.span, None)
            for key in each.questions:
                self.questions.pop((run.id, key), None)
        if step.among is not None:
            step.among.open -= 1

    def _release(self, run: Run, parent: Step | None) -> None:
        """Give up waiting for the `Action` of what ended directly below, or anywhere."""
        for span, (above, said) in list(run.late.items()):
            if parent is None or above is parent:
                del run.late[span]
                self.entries.append(said)

    def _act(self, run: Run, event: ev.Action) -> None:
        row = self._row(run, event.node)
        if row is not None:
            row.moved = event
        if event.span in run.late:
            said = run.late.pop(event.span)[1]
            said.moved = event
            self.entries.append(said)


def result_of(step: Step | None, event: End) -> Block | None:
    """What a step that said nothing has returned, where its run captures that."""
    if not isinstance(event, ev.NodeEnd) or event.result is None:
        return None
    if step is not None and (step.speech.said or step.batch.spoke):
        return None
    return Block(OUTPUT, [figures.value(event.result)], isinstance(event.result, str))


_FOLDS: Final[dict[type[Event], Callable[..., None]]] = {
    ev.Chunk: Watch._chunk,
    ev.Progress: Watch._progress,
    ev.Retry: Watch._retry,
    ev.Interrupt: Watch._ask,
    ev.Reply: Watch._reply,
    ev.ItemEnd: Watch._end,
    ev.NodeEnd: Watch._end,
    ev.FlowEnd: Watch._end,
}
