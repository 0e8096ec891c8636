"""What a check of a stream knows of each start that is open, and what its end must not enclose."""

from __future__ import annotations

from flowevents.events import Action, Event
from flowevents.opened import End, Opened
from flowevents.testing.fields import broken, name_of

__all__ = ["Scope", "check_items", "check_ok"]


class Scope(Opened):
    """A start that is open, and what came under it.

    Attributes:
        attempt: What the next event of its span carries.
        failed: The first end directly under it that is not ok.
        counts: How often each path has begun under it.
        last: The ok end whose `Action` has not come yet (`ended`), or the last `Action` under it,
            until what that leads to begins (`moved`).
        indexes, done, total: Of its items: those used, how many ended, of how many.
        last_try: The attempt is that of a fallback, after which there is none.
        lost: An attempt of it was lost with its process.
    """

    __slots__ = (
        *("attempt", "counts", "done", "failed", "last"),
        *("indexes", "last_try", "lost", "total"),
    )

    parent: Scope | None
    inside: dict[int, Scope]

    def __init__(self, event: Event, parent: Scope | None) -> None:
        super().__init__(event, parent)
        self.attempt: int = event.attempt
        self.failed: End | None = None
        self.counts: dict[str, int] = {}
        self.last: End | Action | None = None
        self.indexes: set[int] = set()
        self.done = 0
        self.total: int | None = None
        self.last_try = self.lost = False

    @property
    def ended(self) -> End | None:
        """The ok end whose `Action` has not come yet."""
        return None if isinstance(self.last, Action) else self.last

    @property
    def moved(self) -> Action | None:
        """The last `Action` under it, until what it leads to begins."""
        return self.last if isinstance(self.last, Action) else None

    @property
    def has_nodes(self) -> bool:
        """Whether what it holds are nodes and nested flows; of others it is items."""
        above = self.parent
        return self.kind == "flow" or (
            self.kind == "item" and above is not None and above.kind == "flow"
        )

    def first_inside(self) -> str:
        """What the first open start directly under it is called."""
        return name_of(next(iter(self.inside.values())).event)


def check_ok(event: End, scope: Scope) -> None:
    """What the end of something that is ok must not enclose, or leave open."""
    if scope.failed is not None:
        failed = f"{name_of(scope.failed)} in it with status {scope.failed.status!r}"
        raise broken(event, f"status is 'ok' after {failed}")
    if scope.ended is not None:
        raise broken(event, f"comes before the Action of {name_of(scope.ended)}")
    if scope.moved is not None and scope.moved.target is not None:
        moved = f"{scope.moved.target!r}, the target of {name_of(scope.moved)}"
        raise broken(event, f"comes before {moved}")


def check_items(event: End, scope: Scope) -> None:
    """Check that all items of a batch that is ok were there."""
    count = len(scope.indexes)
    if count and (max(scope.indexes) != count - 1 or scope.total not in (None, count)):
        raise broken(event, f"status is 'ok', but of its items only {count} were there")
