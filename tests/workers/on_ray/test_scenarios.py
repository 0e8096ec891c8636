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

OF_ENGINES = {"engine", "live", "apart", "surviving"}
OF_POOLS = {"test_idle_workers_end"}

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
        if not name.startswith("test_") or name in OF_POOLS:
            continue
        if OF_ENGINES & {*signature(test).parameters}:
            globals()[name] = test
