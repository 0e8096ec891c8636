"""What a node was given as `executor=`, checked; and the lane that goes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from flowevents.workers.lane import Arrived, Lane

__all__ = ["Workers", "workers_of"]


class Workers(msgspec.Struct, frozen=True):
    """Where the items of a batch node run.

    Attributes:
        executor: Any PEP 3148 executor, or what has a `flowevents_lane` of its own.
        made: What makes the executor for each step, where it was given instead of one.
        max_lost: How often an item may be lost with its worker before the node fails.
        grace: Seconds in which workers that are told to stop are waited for.
    """

    executor: Any = None
    made: Callable[[], Any] | None = None
    max_lost: int = 3
    grace: float = 5.0

    def __deepcopy__(self, memo: object) -> Workers:
        return self  # of a node that is copied: an executor cannot be

    def lane(self, arrived: Arrived) -> Lane:
        """Return the way there and back, for one step."""
        executor = self.executor
        if self.made is not None:
            executor = _checked(self.made(), f"executor={self.made!r} made")
        own = getattr(executor, "flowevents_lane", None)
        if own is not None:
            lane: Lane = own(arrived)
            return lane
        return _lane_class(executor)(executor, arrived, self.made)


def _lane_class(executor: Any) -> Callable[..., Lane]:
    """Return the lane of this executor, by its class; only that one is imported."""
    from concurrent import futures

    modules = {each.__module__.partition(".")[0] for each in type(executor).__mro__}
    interpreters = getattr(futures, "InterpreterPoolExecutor", ())
    if isinstance(executor, futures.ThreadPoolExecutor) and not isinstance(executor, interpreters):
        from flowevents.workers.threads import Threads

        return Threads
    if isinstance(executor, futures.ProcessPoolExecutor) or "loky" in modules:
        from flowevents.workers.processes import Processes

        return Processes
    if "distributed" in modules:
        from flowevents.workers.dask import Dask

        return Dask
    from flowevents.workers.others import Others

    return Others


def workers_of(executor: Any, max_lost: int, grace: float) -> Workers:
    """Check what a node was given. Raises `TypeError` and `ValueError`, which say it."""
    if type(max_lost) is not int or max_lost < 1:
        raise ValueError(f"max_lost must be a whole number from 1, not {max_lost!r}.")
    if not grace >= 0:
        raise ValueError(f"grace must be 0 or more, not {grace!r}; it is in seconds.")
    made = None
    if _runs(executor):
        executor = _checked(executor, "executor=")
    else:
        if not callable(executor):
            _checked(executor, "executor=")
        executor, made = None, executor
    return Workers(executor, made, max_lost, float(grace))


def _runs(executor: Any) -> bool:
    if isinstance(executor, type):
        return False
    return callable(getattr(executor, "submit", None)) or hasattr(executor, "flowevents_lane")


def _checked(executor: Any, what: str) -> Any:
    if not _runs(executor):
        raise TypeError(
            f"{what} {executor!r}, which is no executor: give one of concurrent.futures, loky or "
            "Dask, a RayRunner(), or a function that makes one for each step."
        )
    return executor
