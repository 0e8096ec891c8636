"""Flows over HTTP, served from the command line."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from flowevents.cli.journals import made
from flowevents.cli.loading import WrongInput, load_flow
from flowevents.errors import MissingExtra
from flowevents.journal.journal import Journal

__all__ = ["flows_of", "serve_flows"]

_ANY: Final = ("0.0.0.0", "::")


def flows_of(targets: Iterable[str]) -> dict[str, Any]:
    """The flows by their names: `"main:flow"` is called `flow`, `"chat=main:flow"` is `chat`.

    Raises `WrongInput` where there is none, and for a name that two have.
    """
    flows: dict[str, Any] = {}
    for target in targets:
        name, _, place = target.rpartition("=")
        name = name or place.rpartition(":")[2]
        if name in flows:
            raise WrongInput(f"Two flows are called {name!r}. Name one: other={place}.")
        flows[name] = load_flow(place)
    return flows


def serve_flows(
    flows: dict[str, Any], db: str | None, host: str, port: int, say: Callable[[str], None]
) -> None:
    """Serve them until Ctrl-C or SIGTERM.

    Args:
        flows: The flows, by their names.
        db: The file, or the redis:// URL, of their journal; in memory where there is none.
        host, port: Where; port 0 is any that is free.
        say: Is told the address of the page, once it can be opened.

    Raises `WrongInput` where it cannot be, and `MissingExtra`.
    """
    try:
        import uvicorn
    except ImportError as missing:
        raise MissingExtra(
            "The command serve needs the package uvicorn, which is not installed. "
            "Install the extra: pip install flowevents[web]"
        ) from missing
    from flowevents.web import RunServer
    from flowevents.web.guard import LOOPBACK

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say(_address(host, (sockets or [])[0].getsockname()[1]))

    kept: AbstractContextManager[Journal | None] = nullcontext() if db is None else made(db)
    with kept as journal, _listening(host, port) as listening:
        hosts = LOOPBACK if host in _ANY else (*LOOPBACK, host)
        try:
            app = RunServer(flows, journal=journal, allowed_hosts=hosts)
        except ValueError as error:
            raise WrongInput(str(error)) from None
        Server(uvicorn.Config(app, log_level="warning")).run([listening])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = (
            error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        )
        raise WrongInput(f"Cannot listen on {_address(host, port)}: {why}.") from None
    with listening:
        yield listening


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
