"""Each test begins and ends without a connection."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from flowevents import Run, signals
from tests.signals.heard import SIGNALS, Drive, left, run_async, wait_async


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Each test begins and ends without a connection."""
    for signal in (*SIGNALS, signals._context):
        assert not signal.receivers, signal
    yield
    for signal in (*SIGNALS, signals._context):
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
