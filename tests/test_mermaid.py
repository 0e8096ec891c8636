"""Mermaid pictures: drawn by mermaid itself, whatever the names are."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pocketflow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowevents import AsyncFlow, BatchFlow, BatchNode, Flow, GraphError, Node, StreamNode
from flowevents.escape import escape_controls
from flowevents.events import Event, NodeEnd
from flowevents.mermaid import to_mermaid
from tests.hostile import HOSTILE
from tests.whole_run import full_record, hostile_record

ROOT = Path(__file__).resolve().parent.parent
MERMAID = ROOT / ".venv" / "mermaid"

needs_mermaid = pytest.mark.skipif(
    not (ROOT / ".venv" / ".mermaid").exists(), reason="`make .venv/.mermaid` installs mermaid"
)


class Named(Node):
    """A node that goes where its name says nothing of."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.node_name = name


def lines(flow: Any, events: list[Event] | None = None) -> list[str]:
    """The picture's lines, without how they are indented."""
    first, *rest = (line.strip() for line in to_mermaid(flow, events).splitlines())
    assert first == "flowchart TD"
    return rest


# -- what is drawn --------------------------------------------------------------------------------


class Plan(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        shared["plans"] = shared.get("plans", 0) + 1
        return "search" if shared["plans"] < 3 else "answer"


class Search(BatchNode):
    def __init__(self) -> None:
        super().__init__(max_retries=2)

    def prep(self, shared: Any) -> list[int]:
        return [1, 2]

    def exec(self, item: int) -> None:
        if item == 2 and not self.cur_retry:
            raise ValueError("once")


class Rank(Node):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> str:
        return "more"


class Answer(StreamNode):
    def exec_stream(self, prep_res: Any) -> Any:
        yield "half"
        raise ValueError("broken")


class Research(Flow):
    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
        return None


def agent() -> Flow:
    """Plan and a nested flow take turns, then Answer, which fails."""
    plan, search, rank, again, answer = Plan(), Search(), Rank(), Rank(), Answer()
    search >> rank
    rank - "more" >> again
    research = Research(search)
    plan - "search" >> research >> plan
    plan - "answer" >> answer
    answer.successors["done"] = None
    return Flow(plan)


GRAPH = [
    "n1([start])",
    'n2["Plan"]',
    'subgraph n3["Research"]',
    "direction TB",
    "n4([start])",
    'n5["Search"]',
    'n6["Rank"]',
    'n7["Rank#35;2"]',
    "end",
    'n8["Answer"]',
    "n9([stop])",
    "n1 --> n2",
    "n4 --> n5",
    "n5 --> n6",
    'n6 -->|"more"| n7',
    'n2 -->|"search"| n3',
    'n2 -->|"answer"| n8',
    "n3 --> n2",
    'n8 -->|"done"| n9',
]


def test_a_graph() -> None:
    """Names as in events, nested flows as boxes, actions on edges, starts and stops as pills."""
    assert lines(agent())[: len(GRAPH)] == GRAPH


def test_pocketflows_own_classes() -> None:
    """They are drawn the same."""
    first, second = pocketflow.Node(), pocketflow.Node()
    inner = pocketflow.Flow(second)
    first - "go" >> inner
    assert lines(pocketflow.Flow(first))[:9] == [
        "n1([start])",
        'n2["Node"]',
        'subgraph n3["Flow"]',
        "direction TB",
        "n4([start])",
        'n5["Node"]',
        "end",
        "n1 --> n2",
        "n4 --> n5",
    ]


@pytest.mark.parametrize("name", [*HOSTILE.values(), "```\nend"])
def test_a_notebook_draws_a_flow(name: str) -> None:
    """In Markdown, which no name can leave, and as what JupyterLab takes; as text elsewhere."""
    node = Node()
    node.node_name = name
    flow = Flow(node)
    bundle = flow._repr_mimebundle_(include=None, exclude=None)
    drawn = to_mermaid(flow)
    assert bundle == {
        "text/vnd.mermaid": drawn,
        "text/markdown": f"```mermaid\n{drawn}```\n",
        "text/plain": repr(flow),
    }
    assert "`" not in drawn


def test_a_notebook_shows_a_flow_that_cannot_be_drawn() -> None:
    """As text: the error belongs to its run."""
    node = Node()
    flow = Flow(node)
    node.successors["default"] = "no node"
    assert flow._repr_mimebundle_() == {"text/plain": repr(flow)}


def test_what_is_no_box_around_others() -> None:
    """A single node, an empty flow, one that runs itself, one that stands in itself."""

    class Own(Flow):
        def _orch(self, shared: Any, params: Any = None) -> Any:
            return None

    assert lines(Named("Alone")) == ['n1["Alone"]']
    assert lines(Flow()) == []
    assert lines(Own(Named("A"))) == ['n1["Own"]']
    node = Named("A")
    flow = Flow(node)
    node >> flow
    node - "empty" >> Research()
    node - "own" >> Own(Named("B"))
    assert lines(flow)[1:5] == ['n2["A"]', 'n3[["Flow"]]', 'n4[["Research"]]', 'n5["Own"]']


def test_what_is_no_node_is_an_error() -> None:
    """As it is when the flow runs."""
    node = Named("A")
    node.successors["go"] = "nowhere"
    with pytest.raises(GraphError, match="'nowhere' is not a node"):
        to_mermaid(Flow(node))


def test_names_are_drawn_as_paths_hold_them() -> None:
    """With other signs where those would separate and number."""
    assert lines(Flow(Named("a/b#2")))[1] == 'n2["a#8725;b#9839;2"]'


# -- what a run left ------------------------------------------------------------------------------


def recorded(flow: Any, **options: Any) -> list[Event]:
    """The events of a run of the flow that fails."""
    events: list[Event] = []
    with pytest.raises(ValueError, match="broken"):
        flow.run({}, observers=[events.append], **options)
    return events


def looks(picture: list[str]) -> dict[str, str]:
    """How each box looks that was in a run."""
    classes = [re.fullmatch(r"class (\S+) (\w+)", line) for line in picture]
    found = {box: each[2] for each in classes if each for box in each[1].split(",")}
    return {box: look for box, look in found.items() if look != "mark"}


def test_a_run_is_counted_and_coloured() -> None:
    """Executions, items and retries by name; states by colour; edges that were taken."""
    flow = agent()
    picture = lines(flow, recorded(flow))
    counted = {1: '"Plan<br/>×3"', 2: '"Research ×2"', 5: '"Search<br/>×2, 4 items, 2 retries"'}
    counted |= {6: '"Rank<br/>×2"', 9: '"Answer<br/>×1"', 13: '"×2"', 15: '"search ×2"'}
    for number, text in counted.items():
        assert text in picture[number]
    assert looks(picture) == dict.fromkeys(["n2", "n3", "n5", "n6", "n7"], "ok") | {"n8": "error"}
    (taken,) = (line for line in picture if line.startswith("linkStyle"))
    assert taken.split()[1] == "2,3,4,5,6"


def test_the_first_state_of_several_is_shown() -> None:
    """An error before a question before what goes on before what was cancelled before ok."""
    plan = Named("Plan")
    plan >> Named("Ask")
    flow = Flow(plan)

    def state(box: str, *records: list[Event]) -> str:
        return looks(lines(flow, [event for record in records for event in record]))[box]

    ok, running, waiting = full_record(), full_record()[:3], full_record()[:9]
    failed, cancelled = (
        [
            msgspec.structs.replace(each, status=status) if type(each) is NodeEnd else each
            for each in full_record()
        ]
        for status in ("error", "cancelled")
    )
    assert [state("n2", each) for each in (ok, running, cancelled, failed)] == [
        "ok", "running", "cancelled", "error",
    ]  # fmt: skip
    assert state("n3", waiting) == "waiting"

    def renamed(record: list[Event]) -> list[Event]:
        return [msgspec.structs.replace(each, run_id="other") for each in record]

    assert state("n2", ok, renamed(cancelled)) == "cancelled"
    assert state("n2", cancelled, renamed(running)) == "running"
    assert state("n3", running, renamed(waiting)) == "waiting"
    assert state("n3", waiting, renamed(failed)) == "error"


def test_a_record_of_another_flow_changes_nothing() -> None:
    """Paths that are not in the graph are not drawn."""
    plain = lines(Flow(Named("Other")))
    assert lines(Flow(Named("Other")), full_record()) == plain
    assert lines(Flow(Named("Other")), []) == plain


# -- mermaid draws it -----------------------------------------------------------------------------


class Drawn(NamedTuple):
    """What mermaid made of a picture: its elements, attributes, and the texts of its labels."""

    elements: set[str]
    attributes: set[str]
    labels: set[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.labels: list[str] = []
        self._label = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "span":
            self.labels.append("")
        elif tag == "br":
            self.labels[-1] += "\n"
        self._label = tag in ("span", "p", "br")

    def handle_endtag(self, tag: str) -> None:
        self._label = False

    def handle_data(self, data: str) -> None:
        if self._label:
            self.labels[-1] += data


def drawn(pictures: list[str]) -> list[Drawn]:
    """What mermaid makes of each picture. Raises `AssertionError` where it takes one for wrong."""
    done = subprocess.run(
        [str(MERMAID / "node"), str(ROOT / "tests" / "mermaid" / "draw.mjs"), str(MERMAID)],
        input=json.dumps(pictures),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = []
    for picture, result in zip(pictures, json.loads(done.stdout), strict=True):
        assert "error" not in result, f"{result['error']}\n{picture}"
        reader = _Reader()
        reader.feed(result["svg"])
        found.append(Drawn(reader.elements, reader.attributes, set(reader.labels)))
    return found


def named(text: str, action: str) -> Flow:
    """A flow in which everything is called that."""
    node, inner = Named(text), Flow(Named(text))
    inner.node_name = text
    node - action >> inner
    inner - action >> node
    inner - "again" >> inner
    return Flow(node)


TRICKS = [
    *HOSTILE.values(),
    *("end", "subgraph", "graph", "default", "o", "x--", "---", "%%", "click n1 call alert()"),
    *("1. one", "- two", "# three", "> four", "`code`", "**bold** _it_", "fa:fa-bell", ":::error"),
    *(
        "#quot;",
        "&quot;",
        "&#60;b&#62;",
        "ﬂ°°60¶ßb",
        "ﬂ°lt¶ß",
        '"',
        "'",
        "\\",
        "|",
        "$$x$$",
        "<br/>",
    ),
    *("@{ shape: start }", "linkStyle 0 stroke:red", "classDef ok fill:red", "a & b", "~~~", " "),
]
"""Words and characters of Mermaid, of Markdown in it, of its entity codes and of its icons."""


@needs_mermaid
def test_mermaid_draws_any_name() -> None:
    """As text, whole; what is drawn holds no link, no script and no image."""
    texts = [text for text in TRICKS if text.strip()]
    pictures = [to_mermaid(named(text, text), hostile_record(text)) for text in texts]
    plain, *results = drawn([to_mermaid(named("Plan", "go"), []), *pictures])
    for text, result in zip(texts, results, strict=True):
        assert result.elements <= plain.elements | {"br"}
        assert result.attributes <= plain.attributes
        shown = escape_controls(text, one_line=True)
        for own, instead in [("ﬂ", "fl"), ("¶ß", "¶ ß"), (":fa-", ":\u2060fa-")]:
            shown = shown.replace(own, instead)
        if len(shown) > 100:
            shown = shown[:99] + "…"
        assert any(
            " ".join(label.split()).startswith(" ".join(shown.split())) for label in result.labels
        ), (text, result.labels)


@needs_mermaid
def test_mermaid_draws_all_there_is() -> None:
    """Nested, empty, single, batch and async flows, with and without a run."""
    flow = agent()
    batch, empty = BatchFlow(Named("A")), Research()
    batch >> empty
    empty - "" >> Named("B")
    outer = AsyncFlow(batch)
    pictures = [to_mermaid(each) for each in (flow, outer, Flow(), Named("A"))]
    results = drawn([*pictures, to_mermaid(flow, recorded(flow))])
    assert {"Plan", "Research", "search", "start", "Rank#2"} <= results[0].labels
    assert {"BatchFlow", "Research", '""'} <= results[1].labels
    assert {"Plan\n×3", "Research ×2", "search ×2"} <= results[4].labels


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_a_label_holds_nothing_of_mermaids_syntax(text: str) -> None:
    """Letters, digits, spaces and entity codes."""
    label = lines(Flow(Named(text)))[1].removeprefix('n2["').removesuffix('"]')
    assert re.fullmatch(r"(#\d+;|[^\W_]|[ _])+", label)
    assert "ﬂ" not in label
    assert "¶ß" not in label
