"""Runs in a FastAPI app that is there: a letter that somebody approves, on the page at /agents/."""

import os

import uvicorn
from fastapi import FastAPI

from demos.letter import letter
from demos.model import open_model
from demos.screen import start
from flowevents.web import RunServer


def main() -> None:
    with open_model() as model:
        runs = RunServer({"letter": letter(model)})
        app = FastAPI(lifespan=runs.lifespan)
        app.mount("/agents", runs)
        uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))


if __name__ == "__main__":
    start(main)
