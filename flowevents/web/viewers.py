"""Who watches which run: here, and when somebody last did."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Viewers"]


class Viewers:
    """Counts the viewers of each run.

    Attributes:
        here: How many watch a run here, of those that anybody watches.
    """

    def __init__(self) -> None:
        self.here: Counter[str] = Counter()
        self._seen: dict[str, float] = {}  # of runs that live here

    @contextmanager
    def watching(self, run_id: str) -> Iterator[None]:
        """Somebody watches this run, as long as the block runs."""
        self.here[run_id] += 1
        try:
            yield
        finally:
            self.here[run_id] -= 1
            if not self.here[run_id]:
                del self.here[run_id]
            if run_id in self._seen:
                self.seen(run_id)

    def seen(self, run_id: str) -> None:
        """Somebody watches a run that lives here, or it begins to live here."""
        self._seen[run_id] = time.monotonic()

    def forget(self, run_id: str) -> None:
        """It does not live here any more."""
        self._seen.pop(run_id, None)

    def unseen(self, seconds: float) -> list[str]:
        """The runs that live here and that nobody has watched for so long."""
        before = time.monotonic() - seconds
        return [id for id, seen in self._seen.items() if seen <= before and id not in self.here]
