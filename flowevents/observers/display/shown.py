"""Which nodes are shown: what `show=` takes, as a question about a path."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

__all__ = ["shower"]


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
