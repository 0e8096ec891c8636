"""Runs over HTTP; needs the extra `web`.

server.py     RunServer: an ASGI app
routes.py     what can be asked of runs
access.py     who may do what: `authorize`, asked before anything is looked up
driving.py    Runs: the runs that live in the server
watching.py   the events of a run as Server-Sent Events, or as lines
owned.py      `sse`: a run that one request alone owns
bodies.py     what a request may say
guard.py      hosts, origins and sizes
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
