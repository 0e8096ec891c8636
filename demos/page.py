"""The agent of `make demo` behind a page, where each run is started and watched: `make serve`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

import uvicorn

from demos.agent import PROJECT, agent
from demos.model import open_model
from demos.passages import Passages
from demos.screen import start
from flowevents.web import RunServer

PORT = int(os.environ.get("PORT") or 8321)


@contextmanager
def server(port: int) -> Iterator[uvicorn.Server]:
    """The server of the page, on loopback; `run()` serves until Ctrl-C."""
    parts = [PROJECT / name for name in ("README.md", "docs")]
    with closing(Passages(PROJECT, *parts)) as passages, open_model() as model:
        app = RunServer({"agent": agent(passages, model)})
        yield uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))


def main() -> None:
    with server(PORT) as serving:
        print(f'Open http://127.0.0.1:{PORT}/ and start it with {{"question": "…"}}', flush=True)
        serving.run()


if __name__ == "__main__":
    start(main)
