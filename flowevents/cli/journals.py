"""Journals as the command line is given them: the file of one, or the URL of a Redis server."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from flowevents.cli.loading import WrongInput
from flowevents.escape import escape_controls
from flowevents.events import Event, Interrupt
from flowevents.journal.journal import Journal
from flowevents.journal.records import RunSummary
from flowevents.observers.questions import choices_of, parse, wording

__all__ = ["is_journal", "journal_events", "lines_of", "made", "opened", "typed_answer"]

_SQLITE: Final = b"SQLite format 3\0"
_URLS: Final = ("redis://", "rediss://", "unix://")


def is_journal(place: str) -> bool:
    """Whether it looks like one: a URL, or a file of SQLite."""
    if place.startswith(_URLS):
        return True
    try:
        with open(place, "rb") as file:  # before SQLite has it open: closing would take its locks
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def opened(place: str) -> Journal:
    """The journal there."""
    if not place.startswith(_URLS) and not os.path.exists(place):
        raise WrongInput(f"There is no journal {place}. Give the file, or redis://….")
    return made(place)


def made(place: str) -> Journal:
    """`opened`, where a file that is not there is made."""
    if place.startswith(_URLS):
        from flowevents.journal.redis import RedisJournal

        return RedisJournal(place)
    from flowevents.journal.sqlite import SQLiteJournal

    return SQLiteJournal(place)


def journal_events(place: str, run_id: str | None) -> list[Event]:
    """The events of all runs there, or of one, as they came.

    Raises `WrongInput` where there are none.
    """
    with opened(place) as journal:
        runs = [run_id] if run_id is not None else [each.id for each in journal.runs(limit=2**31)]
        logs = [list(journal.read(each)) for each in reversed(runs)]
    events = list(heapq.merge(*logs, key=lambda event: event.time))
    if not events:
        raise WrongInput(f"{place} holds no events.")
    return events


def typed_answer(run: RunSummary, id: str | None, text: str) -> object:
    """The value that a typed text stands for, as the question understands it.

    Where the question is not there, it is the text: the journal says what is wrong.
    """
    asked = [each for each in run.interrupts if id in (None, each.id)]
    if len(asked) != 1:
        return text
    try:
        return parse(asked[0], text)
    except ValueError as error:
        raise WrongInput(str(error)) from None


def lines_of(runs: Iterable[RunSummary]) -> Iterator[str]:
    """Each run as a line, and below it what it asks, or what it failed with."""
    for run in runs:
        began = datetime.fromtimestamp(run.started).isoformat(" ", "seconds")
        words = [run.id, f"{run.status:<9}", run.flow, f"{run.seq} events", began]
        yield escape_controls("  ".join(words), one_line=True)
        for each in run.interrupts:
            yield escape_controls(f"    {each.id}: {_asked(each)}", one_line=True)
        if run.error is not None:
            yield escape_controls(f"    {run.error}", one_line=True)


def _asked(question: Interrupt) -> str:
    choices = choices_of(question)
    known = "" if choices is None else f" ({', '.join(map(wording, choices))})"
    return f"{question.node} asks {wording(question.prompt)}{known}"
