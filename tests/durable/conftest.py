"""Journals that are closed when a test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from flowevents import MemoryJournal


@pytest.fixture
def journals() -> Iterator[Callable[[], MemoryJournal]]:
    """Make journals."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(MemoryJournal())


@pytest.fixture
def journal(journals: Callable[[], MemoryJournal]) -> MemoryJournal:
    """One journal."""
    return journals()
