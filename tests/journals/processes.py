"""Programs that tests run in processes of their own, and end as they please."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.driving import PATIENCE

__all__ = ["begun", "output"]

_PRELUDE = """
import os, signal, sys, threading, time
from flowevents import *
from flowevents import RedisJournal
from flowevents.errors import *
from flowevents.events import *
from flowevents.testing.journals.script import Script

def say(*words):
    print(*words, flush=True)
"""


@contextmanager
def begun(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the program, with these arguments; killed when the block is left."""
    # CPython 3.12 and later warn of any fork beside a thread; these fork on purpose.
    quiet = ["-W", "ignore:This process:DeprecationWarning"]
    words = [sys.executable, *quiet, "-c", _PRELUDE + program, *map(str, arguments)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def output(program: str, *arguments: object) -> str:
    """What a program prints that ends well and complains of nothing."""
    with begun(program, *arguments) as process:
        said, complaints = process.communicate(timeout=PATIENCE)
    assert (complaints, process.returncode) == ("", 0)
    return said
