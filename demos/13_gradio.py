"""A chat in the browser, on Gradio: it shows the nodes at work, and asks before each search."""

import os
from contextlib import closing
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # it looks hosts up otherwise

import gradio as gr

from demos.agent import PROJECT, Answer, Plan, Search
from demos.model import open_model
from demos.passages import Passages
from demos.screen import start
from flowevents import Ask, Flow
from flowevents.gradio import chat


class AskedSearch(Search):
    """Searches if the person agrees."""

    def exec_stream(self, prep_res: tuple[str, str]) -> Any:
        answer = yield Ask(f"Search the docs for “{prep_res[1]}”?", choices=["yes", "no"])
        return (yield from super().exec_stream(prep_res)) if answer == "yes" else []


def begin(question: str, history: list[Any]) -> dict[str, Any]:
    return {"question": question, "searched": [], "passages": []}


def main() -> None:
    with open_model() as model, closing(Passages(PROJECT, PROJECT / "docs")) as passages:
        plan, search = Plan(model), AskedSearch(model, passages)
        plan - "search" >> search >> plan
        plan - "answer" >> Answer(model)
        gr.ChatInterface(chat(Flow(plan), shared=begin), concurrency_limit=None).launch()


if __name__ == "__main__":
    start(main)
