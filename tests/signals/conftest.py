"""Each test begins and ends without a connection."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import Run
from tests.signals.heard import Drive, run_async, wait_async
from tests.signals.tables import HELD, begin, left


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    """Each test begins without one, and disconnects what it connected; nothing is kept of it."""
    for signal in HELD:
        assert not signal.receivers, signal
    begin()
    yield
    for signal in HELD:
        for receiver in list(signal.receivers.values()):
            handler: Any = receiver() if isinstance(receiver, weakref.ref) else receiver
            signal.disconnect(handler)
    assert left() == {}


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Drive:
    """Runs a flow of sync nodes to its end, with the options of `Run`."""

    def run(flow: Any, **options: Any) -> Any:
        if request.param == "sync":
            return Run(flow, {}, **options).wait()
        return run_async(wait_async(flow, **options))

    return run
