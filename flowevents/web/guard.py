"""The guard at the door: which hosts, origins and sizes of requests are let in.

The rules of this file:

* A request whose `Host` is not one of ours was sent by a page whose name points here (DNS
  rebinding): 421.
* A request that changes something and comes from a page has that page's `Origin` (RFC 6454): it is
  ours, one that is allowed, or refused.
* Only allowed origins get CORS headers. A preflight carries no credentials, so that nobody is asked
  whether it may.
* A body is counted as it comes, whatever its headers say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowevents.web.problems import problem

__all__ = ["LOOPBACK", "Guard"]

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""The names of this machine to itself."""

_MOST: Final = 1 << 20  # bytes in a body
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_METHODS: Final = ("GET", "HEAD", "POST")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_NAME: Final = re.compile(r"(\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\]|\*")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


class Guard:
    """Lets requests through to an app, or refuses them.

    Args:
        app: The app.
        hosts: The names that the server has; `"*.example.com"` are those below, `"*"` is any.
        origins: The origins of other pages that may use it, such as `"https://example.com"`.

    Raises `ValueError` for what is no host, and what is no origin.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._hosts = [_host(each) for each in _many(hosts, "allowed_hosts")]
        self._origins = {_origin(each) for each in _many(origins, "allowed_origins")}
        self._app = app
        if self._origins:
            self._app = CORSMiddleware(
                app,
                allow_origins=self._origins,
                allow_methods=_METHODS,
                allow_headers=["*"],
                allow_credentials=True,
                expose_headers=["Location", "Retry-After"],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        counted = _Counted(receive, send)
        await self._app(scope, counted.receive, counted.send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        hosts = headers.getlist("host")
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if not self._is_ours(host):
            return problem(
                421,
                f"This server is not called {host!r}. Its names are in "
                "RunServer(allowed_hosts=[…]).",
            )
        method, origin = scope["method"], headers.get("origin")
        preflight = method == "OPTIONS" and "access-control-request-method" in headers
        if origin is not None and (preflight or method not in _SAFE):
            ours = not preflight and _same(origin, scope.get("scheme", "http"), host)
            if not ours and origin not in self._origins:
                return problem(
                    403,
                    f"Pages of {origin!r} may not use this server. Those that may are in "
                    "RunServer(allowed_origins=[…]).",
                )
        if preflight and headers["access-control-request-method"] not in _METHODS:
            asked = headers["access-control-request-method"]
            return problem(405, f"Nothing here takes {asked!r}.", {"Allow": ", ".join(_METHODS)})
        length = headers.get("content-length", "0")
        return _too_large() if length.isdecimal() and int(length) > _MOST else None

    def _is_ours(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        name = found[1] if found else ""
        return bool(name) and any(
            each in ("*", name) or (each.startswith("*.") and name.endswith(each[1:]))
            for each in self._hosts
        )


class _Counted:
    """What a client sends, up to the most that a body may be."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._left = _MOST
        self._answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0 and not self._answered:  # whoever watches is not listened to
                raise HTTPException(413, _TOO_LARGE)
        return message

    async def send(self, message: Message) -> None:
        self._answered = True
        await self._send(message)


_TOO_LARGE: Final = f"The body is too large: more than {_MOST:,} bytes."


def _too_large() -> Response:
    return problem(413, _TOO_LARGE)


def _same(origin: str, scheme: str, host: str) -> bool:
    """Whether an origin, which never names a default port, is that of a host with its port."""
    port = ":80" if scheme == "http" else ":443"
    return origin.lower() == f"{scheme}://{host}".removesuffix(port)


def _many(given: Iterable[str], what: str) -> Sequence[str]:
    if isinstance(given, str):
        raise ValueError(f"{what}={given!r} is one text; give a list of them.")
    return list(given)


def _host(given: str) -> str:
    name = f"[{given}]" if ":" in given and not given.startswith("[") else given
    if not _NAME.fullmatch(name.lower()):
        raise ValueError(
            f"allowed_hosts: {given!r} is no host; give a name without a port, such as "
            "'example.com', '*.example.com' for those below, or '*' for any."
        )
    return name.lower()


def _origin(given: str) -> str:
    if not _ORIGIN.fullmatch(given):
        raise ValueError(
            f"allowed_origins: {given!r} is no origin; give scheme, host and port as a browser "
            "sends them, such as 'https://example.com' or 'http://localhost:3000'."
        )
    return given
