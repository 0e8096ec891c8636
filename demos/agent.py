"""An agent that reads a folder: Plan and Search take turns, then Answer; every node streams.

`make demo ASK="a question" DOCS=folder` runs it; all that one sees of the run is TerminalDisplay.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from demos import prompts
from demos.model import Model, open_model
from demos.passages import Passage, Passages
from demos.screen import plain, show, start
from flowevents import Flow, StreamNode, TerminalDisplay

PROJECT = Path(__file__).resolve().parent.parent
QUESTION = "What happens to the other handlers when one of them raises an exception?"
MAX_SEARCHES = 4
Shared = dict[str, Any]


class ModelNode(StreamNode):
    """A node that streams the model's reply to what `prep` returns."""

    def __init__(self, model: Model) -> None:
        super().__init__(max_retries=2)
        self.model = model

    def exec_stream(self, prep_res: Any) -> Iterator[str]:
        yield from self.model.stream(prep_res)


class Plan(ModelNode):
    """Decides what to search next, or that it is time to answer."""

    def prep(self, shared: Shared) -> list[Any]:
        shared.setdefault("searched", [])
        shared.setdefault("passages", [])
        return prompts.messages(prompts.PLAN, **shared)

    def post(self, shared: Shared, prep_res: Any, exec_res: list[str]) -> str:
        action, words = prompts.decision("".join(exec_res))
        if action == "answer" or len(shared["searched"]) == MAX_SEARCHES:
            return "answer"
        shared["searched"].append(words)
        return "search"


class Search(ModelNode):
    """Finds passages, and lets the model say what is in them."""

    def __init__(self, model: Model, passages: Passages) -> None:
        super().__init__(model)
        self.passages = passages

    def prep(self, shared: Shared) -> tuple[str, str]:
        return shared["question"], shared["searched"][-1]

    def exec_stream(self, prep_res: tuple[str, str]) -> Generator[str, None, list[Passage]]:
        question, words = prep_res
        found = self.passages.search(words)
        for passage in found:
            words = " ".join(passage.snippet.split())
            self.emit(f"{passage.file}:{passage.line} {words}", kind="found")
        if found:
            given = [{"file": each.file, "text": each.text} for each in found]
            asked = prompts.messages(prompts.SUMMARY, question=question, passages=given)
            yield from super().exec_stream(asked)
        else:
            yield f"Nothing stands there about {words!r}."
        return found

    def post(self, shared: Shared, prep_res: Any, exec_res: list[Passage]) -> None:
        found = [{"file": each.file, "text": each.text} for each in exec_res]
        shared["passages"] += [each for each in found if each not in shared["passages"]]


class Answer(ModelNode):
    """Answers from what was found."""

    def prep(self, shared: Shared) -> list[Any]:
        return prompts.messages(prompts.ANSWER, **shared)

    def post(self, shared: Shared, prep_res: Any, exec_res: list[str]) -> None:
        shared["answer"] = "".join(exec_res)


def agent(passages: Passages, model: Model) -> Flow:
    """Build the flow; its `shared` has the `question`."""
    plan, search, answer = Plan(model), Search(model, passages), Answer(model)
    plan - "search" >> search
    search >> plan
    plan - "answer" >> answer

    flow = Flow(plan)
    flow.node_name = "agent"
    return flow


def run(question: str, passages: Passages, model: Model, *observers: object) -> None:
    """Run it, watched by the observers."""
    shared: Shared = {"question": question}
    agent(passages, model).run(shared, observers=observers, on_handler_error="raise")


def main() -> None:
    """Read the arguments, or say in one line what is wrong with them."""
    parser = argparse.ArgumentParser(description="Ask a folder of text files.")
    parser.add_argument("--ask", default=os.environ.get("ASK") or QUESTION, help="the question")
    parser.add_argument("--docs", default=os.environ.get("DOCS"), help="a folder of text files")
    given = parser.parse_args()
    question = given.ask.encode("utf-8", "replace").decode().strip()
    folder = Path(os.path.expanduser(given.docs)) if given.docs else PROJECT
    parts = [] if given.docs else [PROJECT / name for name in ("README.md", "docs", "flowevents")]
    if not question:
        raise SystemExit("The question is empty: set ASK to one.")
    if not folder.is_dir():
        raise SystemExit(plain(f"There is no folder {str(folder)!r}: set DOCS to another."))
    with closing(Passages(folder, *parts)) as passages:
        if not passages.files:
            raise SystemExit(plain(f"No text in {str(folder)!r}: set DOCS to another folder."))
        show(f"{passages.files} files with {len(passages)} passages in {folder}")
        with open_model() as model:
            show(f"Question: {question}")
            run(question, passages, model, TerminalDisplay())


if __name__ == "__main__":
    start(main)
