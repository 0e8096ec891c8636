"""Checks and stand-ins for the tests of what is built with flowevents.

    checks.py     check_events: that a stream of events is well-formed, from the first to the last
    capture.py    capture_events: what is sent while a `with` block runs, as a list
    clock.py      ManualClock: time that passes when a test says so
    journals/     check_journal: that a journal keeps what every one promises
    model.py      ScriptedModel: a model that answers what a test wrote down, and raises NoReply

Each of these stands alone.
"""

from __future__ import annotations

from flowevents.testing.capture import capture_events
from flowevents.testing.checks import check_events
from flowevents.testing.clock import ManualClock
from flowevents.testing.journals import check_journal
from flowevents.testing.model import NoReply, ScriptedModel

__all__ = [
    "ManualClock",
    "NoReply",
    "ScriptedModel",
    "capture_events",
    "check_events",
    "check_journal",
]
