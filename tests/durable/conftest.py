"""Journals that are closed when a test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flowevents import MemoryJournal, SQLiteJournal
from flowevents.journal.journal import Journal
from tests.durable.lost import AwaitedJournal


@pytest.fixture(params=[MemoryJournal, AwaitedJournal])
def journals(request: pytest.FixtureRequest) -> Iterator[Callable[[], MemoryJournal]]:
    """Make journals."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(request.param())


@pytest.fixture
def journal(journals: Callable[[], MemoryJournal]) -> MemoryJournal:
    """One journal."""
    return journals()


@pytest.fixture(params=["memory", "sqlite"])
def handle(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """Another handle to one store with each call; of what is in memory it is the same one."""
    with ExitStack() as stack:
        if request.param == "memory":
            journal = stack.enter_context(MemoryJournal())
            yield lambda: journal
        else:
            yield lambda: stack.enter_context(SQLiteJournal(tmp_path / "runs.db"))
