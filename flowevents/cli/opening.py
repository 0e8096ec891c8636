"""A journal that a command is given by its file or its URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flowevents.cli.loading import WrongInput
from flowevents.errors import JournalError, RunStateError
from flowevents.journal import Journal

__all__ = ["journal_at"]

_REDIS: Final = ("redis://", "rediss://", "unix://")


@contextmanager
def journal_at(place: str) -> Iterator[Journal]:
    """The journal in an SQLite file, or of a `redis://` URL, while the block runs.

    Raises `WrongInput` where there is none, and for what it refuses in the block: a run that it
    does not have, that has ended, or that is driven elsewhere.
    """
    try:
        with _open(place) as journal:
            yield journal
    except (JournalError, RunStateError) as error:
        raise WrongInput(str(error)) from error


def _open(place: str) -> Journal:
    if place.startswith(_REDIS):
        from flowevents.journal import RedisJournal

        return RedisJournal(place)
    if not os.path.isfile(place):
        raise WrongInput(f"{place} is no file. A journal is what SQLiteJournal({place!r}) writes.")
    from flowevents.journal import SQLiteJournal

    return SQLiteJournal(place)
