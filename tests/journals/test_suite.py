"""The suite of all journals, over each of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowevents import MemoryJournal, RedisJournal, SQLiteJournal
from flowevents.testing import check_journal
from tests.journals.server import redis_server


def test_memory() -> None:
    """One journal, for all handles."""
    journal = MemoryJournal()
    check_journal(lambda: journal)


def test_sqlite(tmp_path: Path) -> None:
    """Handles to one file."""
    check_journal(lambda: SQLiteJournal(tmp_path / "runs.db"))


@pytest.mark.edge
def test_redis(tmp_path: Path) -> None:
    """Handles to one server."""
    with redis_server(tmp_path) as server:
        check_journal(lambda: RedisJournal(server.url))
