"""An agent: Plan asks the model what to look for, Act does it, until Plan decides to answer."""

import sys
from collections.abc import Iterator
from typing import Any

from demos import prompts
from demos.model import Model, open_model
from demos.screen import show, start
from flowevents import Node, StreamFlow, StreamNode

NOTES = [
    {"file": "monday", "text": "The blue bicycle has a flat tyre. The pump is in the cellar."},
    {"file": "tuesday", "text": "Nora took the cellar key to Lyon and is back on Friday."},
    {"file": "wednesday", "text": "The red bicycle was sold to the baker."},
]
Shared = dict[str, Any]


class Plan(StreamNode):
    def __init__(self, model: Model) -> None:
        super().__init__(max_retries=2)
        self.model = model

    def prep(self, shared: Shared) -> list[Any]:
        return prompts.messages(prompts.PLAN, **shared)

    def exec_stream(self, prep_res: list[Any]) -> Iterator[str]:
        yield from self.model.stream(prep_res)
        yield "\n"

    def post(self, shared: Shared, prep_res: list[Any], exec_res: list[str]) -> str | None:
        action, words = prompts.decision("".join(exec_res))
        if action == "search":
            shared["searched"].append(words)
        return action if len(shared["searched"]) < 5 else "answer"


class Act(Node):
    """A regular node: it only works, it does not stream."""

    def prep(self, shared: Shared) -> list[str]:
        return str(shared["searched"][-1]).lower().split()

    def exec(self, prep_res: list[str]) -> list[dict[str, str]]:
        return [note for note in NOTES if any(word in note["text"].lower() for word in prep_res)]

    def post(self, shared: Shared, prep_res: list[str], exec_res: list[dict[str, str]]) -> None:
        shared["passages"] += [note for note in exec_res if note not in shared["passages"]]


class Answer(Plan):
    def prep(self, shared: Shared) -> list[Any]:
        return prompts.messages(prompts.ANSWER, **shared)

    def post(self, shared: Shared, prep_res: list[Any], exec_res: list[str]) -> None:
        shared["answer"] = "".join(exec_res)


def main() -> None:
    question = " ".join(sys.argv[1:]) or "Where is the pump for the bicycle, and the key?"
    shared: Shared = {"question": question, "searched": [], "passages": []}
    with open_model() as model:
        plan, act = Plan(model), Act()
        plan - "search" >> act
        act >> plan
        plan - "answer" >> Answer(model)
        for chunk in StreamFlow(plan).run_stream(shared):
            show(chunk, end="")


if __name__ == "__main__":
    start(main)
