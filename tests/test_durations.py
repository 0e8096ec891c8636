"""How long something took, as it is written in a terminal and in plain lines."""

from __future__ import annotations

import pytest

from flowevents.observers.figures import short


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"), (0.0123, "12ms"), (0.0994, "99ms"), (0.0995, "0.1s"), (3.44, "3.4s"),
        (59.9, "59.9s"), (59.96, "1:00"), (125, "2:05"), (3599.6, "1:00:00"), (3723, "1:02:03"),
        (-1, "?"), (float("nan"), "?"), (float("inf"), "?"),
    ],
)  # fmt: skip
def test_short_durations(seconds: float, text: str) -> None:
    """As a clock shows them, from a minute on; and nothing that a record holds raises."""
    assert short(seconds) == text
