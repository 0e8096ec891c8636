"""Programs that run `pocketflow`'s own nodes and flows, observed without a change to them."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from flowevents.run import Run, RunOptions
from flowevents.signals import Subscription

if TYPE_CHECKING:
    from typing import Unpack

__all__ = ["observe_pocketflow"]


def observe_pocketflow(
    library: ModuleType | None = None, **options: Unpack[RunOptions]
) -> Subscription:
    """Have each `run` and `run_async` of pocketflow's nodes and flows be a `Run`, until cancelled.

    So whoever listens hears them: `observe(…)`, a signal's handlers, and the `observers=` given
    here. Results, errors and warnings are the same. What is under way goes on as it began.

    Args:
        library: The module with pocketflow's classes, such as a copy of its one file; by default
            `pocketflow`.
        options: Of each run, as of `Run`. Of several calls that are in force all observers hear;
            of the other options the last one counts.

    Raises `ModuleNotFoundError` where `pocketflow` is not installed, and what `Run` raises for
    options that make no sense.
    """
    library = library or importlib.import_module("pocketflow")
    options["observers"] = list(options.get("observers") or ())
    Run(library.Node(), {}, **options)  # refuses them now, not in the middle of a program
    replaced = _replaced.get(library)
    if replaced is None:
        replaced = _replaced[library] = _Replaced(library)
    replaced.layers.append(options)
    return Subscription([lambda: replaced.remove(options)])


class _Replaced:
    """The two methods of a pocketflow that start a run, as long as they are replaced.

    Attributes:
        layers: The options of each `observe_pocketflow` that is in force.
    """

    def __init__(self, library: ModuleType) -> None:
        self._library = library
        self._run = library.BaseNode.run
        self._run_async = library.AsyncNode.run_async
        self.layers: list[RunOptions] = []

        def run(node: Any, shared: Any) -> Any:
            return self._begin(node, shared, "Flow").wait()

        async def run_async(node: Any, shared: Any) -> Any:
            return await self._begin(node, shared, "AsyncFlow").wait_async()

        library.BaseNode.run, library.AsyncNode.run_async = run, run_async

    def _begin(self, node: Any, shared: Any, flow: str) -> Run:
        if node.successors:
            warnings.warn(f"Node won't run successors. Use {flow}.", stacklevel=3)
        options: RunOptions = {}
        for layer in self.layers:
            options |= layer
        options["observers"] = [
            observer for layer in self.layers for observer in layer.get("observers") or ()
        ]
        return Run(node, shared, **options)

    def remove(self, options: RunOptions) -> None:
        """One of them is over; with the last, pocketflow is as it was."""
        self.layers[:] = [each for each in self.layers if each is not options]
        if not self.layers and _replaced.pop(self._library, None) is not None:
            self._library.BaseNode.run = self._run
            self._library.AsyncNode.run_async = self._run_async


_replaced: Final[dict[ModuleType, _Replaced]] = {}
