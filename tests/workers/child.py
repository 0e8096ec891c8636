"""A process that drives a run, to be killed: `python -m tests.workers.child ENGINE HOW FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractContextManager
from importlib import import_module

from flowevents import Run, SQLiteJournal
from tests.workers.engines import ENGINES, Engine
from tests.workers.nodes import made

__all__ = ["ITEMS"]

ITEMS = ["a", "b", "c", "d"]


def engine_of(name: str) -> AbstractContextManager[Engine]:
    """The engine, or that of a folder of its own: `on_<name>`."""
    made = ENGINES.get(name) or import_module(f"tests.workers.on_{name}.cluster").cluster
    engine: AbstractContextManager[Engine] = made()
    return engine


def main(name: str, how: str, folder: str) -> None:
    """Begin the run `the-run`."""
    with engine_of(name) as engine, SQLiteJournal(f"{folder}/runs.db") as journal:
        node = made("Resuming", how == "async", folder, executor=engine.executor)
        run = Run(node, {"items": ITEMS}, journal=journal, id="the-run")
        if how == "async":
            asyncio.run(run.wait_async())
        else:
            run.wait()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
