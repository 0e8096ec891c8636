"""pocketflow as released, as its repository now is, and flowevents in its place."""

from __future__ import annotations

from typing import Any

import pocketflow as released

import flowevents
from flowevents import Run
from tests.compatibility.newest import newest_pocketflow

pocketflow: Any = released  # its stubs would have ours refused
NEWEST: Any = newest_pocketflow()


class Library:
    """A library's classes, and how its users run what they make of them.

    Attributes:
        classes: Its namespace.
        name: `"theirs"`, `"ours"` in its place, or `"theirs in our Run"`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.classes: Any = flowevents if name == "ours" else pocketflow

    def run(self, flow: Any, shared: Any) -> Any:
        """Run a flow or a node."""
        return Run(flow, shared).wait() if self.name == "theirs in our Run" else flow.run(shared)

    async def run_async(self, flow: Any, shared: Any) -> Any:
        """The same in a loop."""
        if self.name == "theirs in our Run":
            return await Run(flow, shared).wait_async()
        return await flow.run_async(shared)
