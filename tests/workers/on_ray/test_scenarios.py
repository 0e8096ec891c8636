"""What holds on every engine holds on Ray."""

from __future__ import annotations

from inspect import signature

from tests.workers import (
    test_cancelling,
    test_durable,
    test_failing,
    test_live,
    test_losing,
    test_mistakes,
    test_places,
    test_same_program,
    test_slow_consumers,
)

for module in (
    test_cancelling,
    test_durable,
    test_failing,
    test_live,
    test_losing,
    test_mistakes,
    test_places,
    test_same_program,
    test_slow_consumers,
):
    for name, test in vars(module).items():
        if name.startswith("test_") and {*signature(test).parameters} & {
            "engine",
            "live",
            "apart",
            "surviving",
        }:
            globals()[name] = test
