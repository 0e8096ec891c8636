"""An existing PocketFlow program, observed as it is: nothing in it knows of flowevents."""

from pathlib import Path
from typing import Any

import pocketflow

from flowevents import Run
from flowevents.events import Action, FlowEnd, NodeEnd, Retry

# ------------------------------------------------- the program, as somebody wrote it long ago


class Load(pocketflow.Node):
    def exec(self, prep_res: Any) -> str:
        if self.cur_retry == 0:
            raise OSError("the disk was asleep")
        return Path(__file__).read_text(encoding="utf-8")

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: str) -> None:
        shared["lines"] = exec_res.splitlines()


class Count(pocketflow.BatchNode):
    def prep(self, shared: dict[str, Any]) -> Any:
        return shared["lines"]

    def exec(self, prep_res: Any) -> Any:
        return len(prep_res.split())

    def post(self, shared: dict[str, Any], prep_res: Any, exec_res: Any) -> str:
        shared["words"] = sum(exec_res)
        return "long" if shared["words"] > 100 else "short"


class Praise(pocketflow.Node):
    def prep(self, shared: dict[str, Any]) -> None:
        print(f"{shared['words']} words, well done!")


load, count = Load(max_retries=2), Count()
load >> count
count - "long" >> Praise()
flow = pocketflow.Flow(start=load)

# ------------------------------------------------- the observer


class Watch:
    items = 0

    def on_retry(self, event: Retry) -> None:
        print(f"{event.node}: attempt {event.attempt} failed with {event.error}")

    def on_item_end(self, event: Any) -> None:
        self.items = event.done

    def on_node_end(self, event: NodeEnd) -> None:
        print(f"{event.node} is {event.status} after {event.duration * 1000:.1f} ms")

    def on_action(self, event: Action) -> None:
        print(f"  {event.action!r} -> {event.target}")

    def on_flow_end(self, event: FlowEnd) -> None:
        print(f"The flow is {event.status}; the batch had {self.items} items.")


Run(flow, {}, observers=[Watch()]).wait()
