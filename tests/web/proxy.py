"""A proxy on loopback: each connection goes to another server, and may be cut in the middle."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Final

__all__ = ["Proxy", "proxied"]

_RESET: Final = struct.pack("ii", 1, 0)  # close without a word


class Proxy:
    """Passes bytes on.

    Args:
        urls: The servers, which take turns.
        most: How many bytes of an answer a connection passes on before it is cut; none for all.

    Attributes:
        url: Where it is.
        cuts: How often it has cut a connection.
    """

    def __init__(self, urls: Sequence[str], most: Callable[[], int | None]) -> None:
        self._ports = [int(url.rpartition(":")[2]) for url in urls]
        self._turns = count()
        self._most = most
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self.url: str = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.cuts: int = 0
        self._begin(self._accept)

    def _begin(self, what: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=what, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Cut all, and take no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._begin(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """A connection, to the next server that is there."""
        with client:
            for _ in self._ports:
                port = self._ports[next(self._turns) % len(self._ports)]
                try:
                    server = socket.create_connection(("127.0.0.1", port))
                except OSError:
                    continue
                with server:
                    self._open |= {client, server}
                    back = threading.Thread(target=_pass, args=(client, server, None), daemon=True)
                    back.start()
                    if not _pass(server, client, self._most()):
                        self.cuts += 1
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    for each in (client, server):
                        with suppress(OSError):
                            each.shutdown(socket.SHUT_RDWR)
                    back.join()
                    self._open -= {client, server}
                return


def _pass(source: socket.socket, target: socket.socket, left: int | None) -> bool:
    """Pass bytes on, at most so many. Gives whether there were no more."""
    with suppress(OSError):
        while raw := source.recv(65_536):
            if left is not None and len(raw) >= left:
                target.sendall(raw[:left])
                return False
            left = None if left is None else left - len(raw)
            target.sendall(raw)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    return True


@contextmanager
def proxied(urls: Sequence[str], most: Callable[[], int | None] = lambda: None) -> Iterator[Proxy]:
    """A proxy for a while."""
    proxy = Proxy(urls, most)
    try:
        yield proxy
    finally:
        proxy.close()
