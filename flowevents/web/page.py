"""The page: to start a run, to watch it, to answer what it asks, and to cancel it.

The files of `page/` are served as they are, but for the texts that `string.Template` puts into the
HTML. All their links are relative, so that they work below any prefix; and each page has its files
below its own path, so that whoever may see the page may load them.

    start.js      the form that starts a run
    view.js       a run: from its events to what is drawn, once a frame
    feed.js       the events as they come: streams, tabs that share them, lost connections
    fold.js       what they come to, as plain data
    step.js       how a step is drawn; in entry.js what is said in it
    question.js   a question; in fields.js the form for its answer
    element.js    how text gets into the page
    server.js     what is asked of the server, and why it refuses
    written.js    how values and numbers are written
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from flowevents.errors import UnknownRun
from flowevents.escape import escape_xml
from flowevents.journal.records import ENDED, RunSummary
from flowevents.web.driving import Runs

__all__ = ["page_routes"]

_FOLDER: Final = Path(__file__).parent / "page"
_LOADED: Final = {".css", ".js", ".svg"}
_LISTED: Final = 20  # runs on the first page

_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def page_routes(runs: Runs) -> list[Route]:
    """The routes of the page and its files."""
    route = runs.access.route
    files = StaticFiles(directory=_FOLDER)

    async def start(request: Request) -> Response:
        latest = await run_sync(runs.journal.runs, None, _LISTED)
        options = "".join(f"<option>{escape_xml(name)}</option>" for name in runs.flows)
        return _filled("start.html", {"flows": options, "runs": _listed(latest)})

    async def view(request: Request) -> Response:
        run_id: str = request.path_params["id"]
        try:
            run = await run_sync(runs.journal.summary, run_id)
        except UnknownRun:
            return _filled("unknown.html", {"id": escape_xml(run_id)}, 404)
        said = {
            "id": escape_xml(run.id),
            "flow": escape_xml(run.flow),
            "status": run.status,
            "seq": str(run.seq),
            "ended": "hidden" if run.status in ENDED else "",
        }
        return _filled("view.html", said)

    async def file(request: Request) -> Response:
        name: str = request.path_params["file"]
        if Path(name).suffix not in _LOADED:
            raise HTTPException(404)
        response = await files.get_response(name, request.scope)
        response.headers.update(_HEADERS)
        return response

    return [
        route("/", start, "list"),
        route("/page/{file}", file, "list"),
        route("/runs/{id}/view", view, "watch"),
        route("/runs/{id}/page/{file}", file, "watch"),
    ]


def _filled(name: str, texts: Mapping[str, str], status: int = 200) -> Response:
    """A page with these texts, which are escaped already."""
    return HTMLResponse(_template(name).substitute(texts), status, _HEADERS)


@cache
def _template(name: str) -> Template:
    return Template((_FOLDER / name).read_text(encoding="utf-8"))


def _listed(runs: Sequence[RunSummary]) -> str:
    if not runs:
        return ""
    rows = "".join(
        f'<li><a href="runs/{quote(run.id, safe="")}/view">{escape_xml(run.flow)}</a>'
        f'<span class="pill" data-state="{run.status}">{run.status}</span>{_asked(run)}'
        f'<time datetime="{_time(run, "T")}Z">{_time(run, " ")} UTC</time></li>'
        for run in runs
    )
    return f'<section><h2>Latest runs</h2><ul class="runs" role="list">{rows}</ul></section>'


def _asked(run: RunSummary) -> str:
    count = len(run.interrupts)
    said = f"{count} question{'s' if count > 1 else ''}"
    return f'<span class="pill" data-state="asking">{said}</span>' if count else ""


def _time(run: RunSummary, separator: str) -> str:
    return datetime.fromtimestamp(run.started, UTC).strftime(f"%Y-%m-%d{separator}%H:%M:%S")
