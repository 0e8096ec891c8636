"""The page of one's own in the docs, served as they say: `uvicorn tests.web.own_page:app`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from flowevents import Ask, AskNode, Flow, StreamNode
from flowevents.web import RunServer

DOCS: Final = Path(__file__).parents[2] / "docs" / "front-ends.md"


class Draft(StreamNode):
    """Breaks off, and begins again."""

    def __init__(self) -> None:
        super().__init__(max_retries=2)

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        if not self.cur_retry:
            yield "void "
            raise OSError("no ink")
        yield "Dear "
        yield "<b>Ada</b>, …"


class Approve(AskNode):
    """Asks."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Send it?", choices=["yes", "no"])


draft = Draft()
draft >> Approve()
runs = RunServer({"letter": Flow(draft)})
app = FastAPI(lifespan=runs.lifespan)
app.mount("/agents", runs)


@app.get("/")
def page() -> HTMLResponse:
    """What stands in the docs."""
    text = DOCS.read_text(encoding="utf-8")
    (html,) = re.findall(r"^```html\n(.*?)^```$", text, re.M | re.S)
    return HTMLResponse(html)
