"""A journal in Redis."""

from __future__ import annotations

from flowevents.journal.journal import Journal

__all__ = ["RedisJournal"]


class RedisJournal(Journal):
    """Is still to come."""
