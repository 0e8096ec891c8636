"""Runs over HTTP, and a page for them; needs the extra `web`.

The files; each imports only from those below it:

    server.py     RunServer: an ASGI app
    routes.py     what can be asked of runs
    page.py       the page; its files are in page/
    ag_ui.py      the AG-UI protocol: what a request asks in ag_ui_requests.py, the events in
                  ag_ui_events.py
    ai_sdk.py     the protocol of the AI SDK; its parts in ai_sdk_parts.py
    rounds.py     what a server does every few seconds
    owned.py      `sse`: a run that one request alone owns
    protocol.py   what the protocols have in common; in telling.py what a client was told
    watching.py   the events of a run as Server-Sent Events, or as lines
    driving.py    Runs: the runs that live in the server
    bodies.py     what a request may say
    guard.py      hosts, origins and sizes
    access.py     who may do what: `authorize`, asked before anything is looked up
    viewers.py    who watches which run
    problems.py   refusals
"""

from __future__ import annotations

from flowevents.errors import MissingExtra

try:
    import sse_starlette as _sse_starlette
    import starlette as _starlette
except ImportError as _missing:
    raise MissingExtra(
        "flowevents.web needs the packages starlette and sse-starlette, which are not installed. "
        "Install the extra: pip install flowevents[web]"
    ) from _missing

from flowevents.web.owned import sse
from flowevents.web.server import RunServer

__all__ = ["RunServer", "sse"]

del _sse_starlette, _starlette
