"""pluggy: the hooks of pytest. A plugin for each handler."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from .peer import Handler, Peer

PEER = Peer("pluggy", "pluggy", "pluggy")
PROJECT = "benchmark"
hookspec, hookimpl = pluggy.HookspecMarker(PROJECT), pluggy.HookimplMarker(PROJECT)


class Specs:
    """The hook."""

    @hookspec
    def sent(self, event: object) -> None:
        """An event was sent."""


class Plugin:
    """Hands the events on to a handler."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    @hookimpl
    def sent(self, event: object) -> None:
        """An event was sent."""
        self.handler(event)


@PEER.dispatches(units=1_000_000)
def send(handlers: Sequence[Handler], times: int) -> None:
    manager, event = pluggy.PluginManager(PROJECT), object()
    manager.add_hookspecs(Specs)
    for handler in handlers:
        manager.register(Plugin(handler))
    for _ in range(times):
        manager.hook.sent(event=event)
