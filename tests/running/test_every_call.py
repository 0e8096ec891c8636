"""Every call of `Run`, from every place, in every state: each ends, or says why it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.running.every_call import ASYNC_CALLS, CALLS, DRIVES, places

ROOT = Path(__file__).parents[2]

REFUSED = ("RunStateError: Cannot ", "ReplyError: ", "Paused: ", "AsyncNodeError: ")
STOPPED = ("CancelledError: ", "RunCancelled: ")
STOPS = ("cancel", "close", "with", "aclose", "async with")
NOT_THERE = ("body", "async body", "task of the body")
"""Places that are none where nobody iterates over the run."""


def _came(drive: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What came of each call from each place; a call that does not end ends the process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.running.every_call", drive],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{drive} hangs at {lines[-1:]}\n{done.stderr}"
    came = {}
    for line in lines:
        decoder = json.JSONDecoder()
        case, end = decoder.raw_decode(line)
        came[case["place"], case["call"]] = json.loads(line[end:])
    return came


@pytest.mark.parametrize("drive", DRIVES)
def test_every_call_ends_or_says_why_not(drive: str) -> None:
    """The table, for one way to drive: nothing waits for itself, and the run comes to its end."""
    came = _came(drive)
    assert list(came) == [
        (place, call) for place in places(drive) for call in (*CALLS, *ASYNC_CALLS)
    ]
    for case, what in came.items():
        place, call = case
        what = {"case": case, **what}
        made = what["came"]
        if made is None:
            assert place in NOT_THERE or "cancel" in call, what  # or was cut short by that
            continue
        failed = place.startswith("failed") and made == "ValueError: no"
        assert made == "returned" or made.startswith((*REFUSED, *STOPPED)) or failed, what
        assert what["status"] in ("done", "failed", "cancelled"), what
        here = call in CALLS and place in ("node", "stream", "handler")
        if here or place in ("async node", "async stream", "item", "awaited task"):
            stops = made == "returned" and call in STOPS
            assert not stops or what["status"] == "cancelled", what
