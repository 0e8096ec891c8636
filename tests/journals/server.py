"""A Redis server of our own: on loopback, with a directory of its own, ended with the test."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.driving import PATIENCE
from tests.programs import program

__all__ = ["Server", "redis_server"]


class Server:
    """A server that can be killed and started again.

    Attributes:
        url: Where it is.
    """

    def __init__(self, program: str, folder: Path, *, durable: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        keeps = ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        self._command = [
            *(program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(folder), *keeps),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it listens."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise AssertionError("The server has not come up.")

    def freeze(self) -> None:
        """Have it answer nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=PATIENCE)


@contextmanager
def redis_server(folder: Path, *, durable: bool = True) -> Iterator[Server]:
    """A server that keeps what it is told, or, not `durable`, forgets all with its end."""
    server = Server(program("redis-server"), folder, durable=durable)
    server.start()
    try:
        yield server
    finally:
        server.kill()
