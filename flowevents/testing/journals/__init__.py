"""The suite that every journal has to pass.

bench.py      the handles that a case works with, and how it compares
script.py     a run that is written by hand
writing.py    what is stored, and what is refused
leases.py     who may write
reading.py    read, follow, runs, due, delete, prune
answering.py  inboxes: replies, cancels, pauses
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Final

from flowevents.journal.journal import Journal
from flowevents.testing.journals import answering, leases, reading, writing
from flowevents.testing.journals.bench import Bench

__all__ = ["check_journal"]

_SUBJECTS: Final[tuple[ModuleType, ...]] = (writing, leases, reading, answering)


def check_journal(open: Callable[[], Journal]) -> None:
    """Check that a journal keeps what the design promises of every one.

    Args:
        open: Each call gives another handle to one and the same store, or the same one again. It is
            called four times; all are closed at the end. The store may hold other runs, which are
            left as they are unless they ended before 1970.

    Raises `AssertionError`, whose note names the case, where it does not.
    """
    bench = Bench(open)
    try:
        for subject in _SUBJECTS:
            for name, case in vars(subject).items():
                if name.startswith("check_") and case.__module__ == subject.__name__:
                    try:
                        case(bench)
                    except BaseException as error:
                        error.add_note(f"In {subject.__name__}.{name}: {case.__doc__}")
                        raise
    finally:
        bench.close()
