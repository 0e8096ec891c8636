"""Hosts: network namespaces that are connected by a switch, and may be cut off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.driving import PATIENCE

__all__ = ["Host", "network"]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=PATIENCE)


class Host:
    """A host of a network.

    Attributes:
        address: Its address there.
    """

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self.address = address

    def words(self, *words: str) -> list[str]:
        """The command that runs these words as a command of the host."""
        return ["ip", "netns", "exec", self._name, *words]

    def cut_off(self) -> None:
        """Take its interface down."""
        _ip("-n", self._name, "link", "set", "eth0", "down")

    def come_back(self) -> None:
        """Take it up again."""
        _ip("-n", self._name, "link", "set", "eth0", "up")

    @contextmanager
    def python(self, module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A program of the host, which talks by its standard input and output."""
        command = self.words(sys.executable, "-m", module, *arguments)
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        with subprocess.Popen(command, text=True, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()


@contextmanager
def network(*names: str) -> Iterator[dict[str, Host]]:
    """Hosts of these names; the first one has the switch, and cannot be cut off.

    Skips the test where this process may not make any.
    """
    tag = f"fe{os.getpid()}"
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("hosts are network namespaces, which take root and iproute2")
    with ExitStack() as stack:
        hosts = {}
        for at, name in enumerate(names, 1):
            space = f"{tag}-{name}"
            try:
                _ip("netns", "add", space)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"this machine makes no network namespaces: {error.stderr!r}")
            stack.callback(_ip, "netns", "del", space)
            _ip("-n", space, "link", "set", "lo", "up")
            hosts[name] = Host(space, f"10.77.0.{at}")
        switch = f"{tag}-{names[0]}"
        _ip("-n", switch, "link", "add", "eth0", "type", "bridge")
        for at, name in enumerate(names[1:]):
            port = f"port{at}"
            _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "eth0",
                "netns", f"{tag}-{name}")  # fmt: skip
            _ip("-n", switch, "link", "set", port, "master", "eth0")
            _ip("-n", switch, "link", "set", port, "up")
        for name, host in hosts.items():
            _ip("-n", f"{tag}-{name}", "addr", "add", f"{host.address}/24", "dev", "eth0")
            host.come_back()
        yield hosts
