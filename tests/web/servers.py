"""Servers in processes of their own, which can be stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.driving import PATIENCE

__all__ = ["ROOT", "Server", "free_port", "http", "serving", "until"]

ROOT: Final = Path(__file__).parent.parent.parent

http: Final = httpx.Client(
    timeout=PATIENCE, verify=False, limits=httpx.Limits(max_keepalive_connections=0)
)
"""A client of all servers; each request has a connection of its own."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(holds: Callable[[], Any], what: str) -> Any:
    """What a call gives, once that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (given := holds()):
        assert time.monotonic() < deadline, f"It never came to it: {what}"
        time.sleep(0.01)
    return given


class Server:
    """`uvicorn` with an app of the tests.

    Args:
        app: Such as `"tests.web.served:app"`.
        folder: Where its log is written.
        environ: What the app is told.

    Attributes:
        url: Where it is, without a slash at its end.
    """

    def __init__(self, app: str, folder: Path, **environ: object) -> None:
        self._app = app
        self._port = free_port()
        self._log = folder / f"server-{self._port}.log"
        self._environ = {**os.environ, **{name: str(each) for name, each in environ.items()}}
        self._process: subprocess.Popen[bytes] | None = None
        self.url: str = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "error", "-m", "uvicorn", self._app),
                    *("--port", str(self._port), "--log-level", "warning"),
                ],
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=log,
            )
        until(self._answers, "the server answers")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            http.get(f"{self.url}/runs")
        except httpx.HTTPError:
            return False
        return True

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(encoding="utf-8")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> float:
        """End it by a signal. Gives how many seconds that took."""
        process, self._process = self._process, None
        began = time.monotonic()
        if process is not None:
            process.send_signal(number)
            process.wait(PATIENCE)
        return time.monotonic() - began


@contextmanager
def serving(folder: Path, app: str = "tests.web.served:app", **environ: object) -> Iterator[Server]:
    """A server for a while."""
    server = Server(app, folder, **environ)
    server.start()
    try:
        yield server
    finally:
        server.end()
