"""The clients in tests/web/clients: a process of Node each, which is asked a line at a time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

__all__ = ["Client", "needs_clients"]

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / ".venv" / "clients"

needs_clients = pytest.mark.skipif(
    not (ROOT / ".venv" / ".clients").exists(), reason="`make .venv/.clients` installs the clients"
)


class Client:
    """A client that speaks a protocol as its own library does.

    Args:
        program: Its file in tests/web/clients.
        arguments: What it is called with.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [
                str(CLIENTS / "node"),
                str(ROOT / "tests" / "web" / "clients" / program),
                str(CLIENTS),
                *arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, **asked: Any) -> Any:
        """What came of a conversation: see the head of the program."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(asked) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._process:  # closes its pipes, and waits for its end
            assert self._process.stdin is not None
            self._process.stdin.close()
