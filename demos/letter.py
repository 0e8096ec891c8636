"""A letter that is drafted, shown to a person and revised until approved: Draft ⇄ Approve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from demos import prompts
from demos.model import Model
from demos.screen import show
from flowevents import Ask, AskNode, Flow, Node, StreamNode

Shared = dict[str, Any]


class Draft(StreamNode):
    """Streams the letter, with all that was wished for so far."""

    def __init__(self, model: Model) -> None:
        super().__init__(max_retries=2)
        self.model = model

    def prep(self, shared: Shared) -> list[Any]:
        shared.setdefault("wishes", [])
        return prompts.messages(prompts.DRAFT, **shared)

    def exec_stream(self, prep_res: list[Any]) -> Iterator[str]:
        yield from self.model.stream(prep_res)
        yield "\n"


class Approve(AskNode):
    """Only asks; the answer is the way on, or what to change."""

    def question(self, prep_res: Any) -> Ask:
        return Ask("Send it? (yes, or what to change)", type=str)

    def post(self, shared: Shared, prep_res: Any, exec_res: str) -> str:
        if exec_res.strip().lower() in ("y", "yes"):
            return "send"
        shared["wishes"].append(exec_res.strip())
        return "revise"


class Send(Node):
    """The last step, that nobody wants to take unasked."""

    def prep(self, shared: Shared) -> int:
        return len(shared["wishes"])

    def exec(self, prep_res: int) -> None:
        show(f"Sent, after {prep_res} revisions.")


def letter(model: Model) -> Flow:
    """The flow; `shared` has the `question`, what the letter is about, and gets the `wishes`."""
    draft, approve = Draft(model), Approve()
    draft >> approve
    approve - "revise" >> draft
    approve - "send" >> Send()
    return Flow(draft)
