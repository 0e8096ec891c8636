"""The terminal display: what a person sees, on every kind of screen."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from flowevents import events as ev
from flowevents.events import Event
from flowevents.observers.display import Picture, TerminalDisplay
from flowevents.observers.display.canvas import Canvas, wrap
from flowevents.observers.display.entries import entry_lines
from flowevents.observers.display.notebook import as_html
from flowevents.observers.display.plain import Lines
from flowevents.observers.display.region import live_lines
from flowevents.observers.display.watch import Watch
from tests.hostile import CONTROLS, HOSTILE
from tests.records import Recorder, agent
from tests.screens import Screen, still

ROOT = Path(__file__).resolve().parent.parent


def picture(events: list[Event], width: int = 80, **options: Any) -> str:
    """The final picture as text."""
    file = io.StringIO()
    Console(file=file, width=width).print(Picture(events, **options))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def lines_of(events: list[Event]) -> list[str]:
    """All plain lines."""
    lines = Lines(Watch())
    return [line for event in events for line in lines.take(event)]


def region(watch: Watch, width: int = 80, height: int = 24, now: float = 5.0) -> list[str]:
    """What is under way, as text."""
    return [line.plain for line in live_lines(watch, now, Canvas(width, height))]


def watching(events: list[Event]) -> Watch:
    """What is known after these events, at no time at all."""
    watch = Watch()
    for event in events:
        watch.take(event, 0.0)
    return watch


AGENT = """\
✓ Plan  0.5s  → Research (search)  first 0.1s
  look here
✓ Research/Rank[0]  0.3s  3.3 tok/s  first 0.3s
  one two three
✓ Research/Rank[1]  0.3s  3.3 tok/s  first 0.3s
  one two three
✓ Research/Rank[2]  0.3s  3.3 tok/s  first 0.3s
  one two three
✓ Plan  0.5s  → Approve (ask)  first 0.1s
  enough
? Approve asks
  Ship it?
  1 yes
  2 no
✓ Approve answered yes
↻ Answer  attempt 1 is void, attempt 2 follows in 1.0s  first 0.1s
  void text
  TimeoutError: too slow
✗ Answer  1.0s  first 0ms
  cost: {'cents': 3}
  The answer
  is 42
  ValueError: no more
✗ agent  3.0s
├ ✓ Plan ×2  1.0s  → Approve (ask)
├ ✓ Research  2.1s  → Plan
│ └ ✓ Rank  2.0s · 3 items  → end
├ ✓ Approve  4.0s  → Answer (yes)
└ ✗ Answer  1.0s · 1 retry"""


LINES = """\
agent: start, run run-1
Plan: start
Plan | look here
Plan: ok in 0.5s
Plan -> Research (search)
Research: start
Research/Rank: start
Research/Rank[0]: start
Research/Rank[1]: start
Research/Rank[2]: start
Research/Rank[0] | one two three
Research/Rank[0]: ok in 0.3s, 1 of 3 done
Research/Rank[1] | one two three
Research/Rank[1]: ok in 0.3s, 2 of 3 done
Research/Rank[2] | one two three
Research/Rank[2]: ok in 0.3s, 3 of 3 done
Research/Rank: ok in 2.0s
Research/Rank -> end
Research: ok in 2.1s
Research -> Plan
Plan: start
Plan | enough
Plan: ok in 0.5s
Plan -> Approve (ask)
Approve: start
Approve: asks: Ship it? [yes, no]
Approve: answered: yes
Approve: ok in 4.0s
Approve -> Answer (yes)
Answer: start
Answer | void text
Answer: attempt 1 is void, attempt 2 follows in 1.0s: TimeoutError: too slow
Answer: 1 of 4 pages
Answer | cost: {'cents': 3}
Answer | The answer
Answer | is 42
Answer: error in 1.0s: ValueError: no more
agent: error in 3.0s"""


# -- the picture ----------------------------------------------------------------------------------


def test_the_final_picture_has_the_texts_and_the_tree() -> None:
    """Texts in the order of their ends, then each node once: loops as a count, flows indented."""
    assert picture(agent()) == AGENT


def test_the_display_leaves_that_picture_however_often_it_draws() -> None:
    """Drawing after each event, or never, ends in the same screen; the cursor is back."""
    for after_each in (False, True):
        screen = Screen()
        display = still(screen)
        for event in agent():
            display(event)
            if after_each:
                display.refresh()
        assert screen.shown == AGENT
        assert screen.has_cursor()


def test_while_it_runs_the_newest_text_stands_above_the_tree() -> None:
    """Of a long text only the end, as much as there is room for; at the end all of it."""
    run = Recorder()
    span = run.start(ev.NodeStart, "Answer", run.root)
    for n in range(100):
        run.add(ev.Chunk, span, "Answer", data=f"line {n}\n")
    screen = Screen(40, 12)
    display = still(screen, get_time=lambda: 7.0)
    for event in run.events:
        display(event)
    display.refresh()
    assert screen.shown.splitlines() == [
        "⠋ Answer  0ms  10 tok/s  first 0.1s",
        *(f"  line {n}" for n in range(92, 100)),
        "⠋ agent  0ms",
        "└ ⠋ Answer  0ms",
    ]
    assert not screen.has_cursor()
    display.stop()
    assert screen.shown.splitlines() == [
        "· Answer  not ended  10 tok/s  first 0.…",
        *(f"  line {n}" for n in range(100)),
        "· agent  not ended",
        "└ · Answer  not ended",
    ]
    assert screen.has_cursor()


def test_a_long_tree_leaves_half_of_the_screen_to_the_text() -> None:
    """What finished first is left out, and counted."""
    run = Recorder()
    for n in range(30):
        run.step(f"Done{n}")
    span = run.start(ev.NodeStart, "Answer", run.root)
    run.add(ev.Chunk, span, "Answer", data="\n".join(f"line {n}" for n in range(50)))
    lines = region(watching(run.events), 80, 21)
    assert [line.strip() for line in lines[1:10]] == [f"line {n}" for n in range(41, 50)]
    assert lines[11] == "  … 23 finished before"
    assert [line.split()[2] for line in lines[12:]] == [f"Done{n}" for n in range(23, 30)] + [
        "Answer"
    ]


def test_a_retry_strikes_what_is_void() -> None:
    """The void text is struck out, dim, and is not in the text that follows."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="standard", width=80)
    console.print(Picture(agent()))
    assert "\x1b[2;9mvoid text" in file.getvalue()
    assert "\x1b[1;31m✗" in file.getvalue()
    assert file.getvalue().count("void text") == 1


def test_items_of_a_parallel_batch_have_a_line_each_up_to_a_limit() -> None:
    """With the end of what each says, and the count of the others; below a bar."""
    events = agent()
    begun = next(n for n, each in enumerate(events) if isinstance(each, ev.ItemEnd))
    batch = region(watching(events[: begun + 1]))[3:]
    assert batch == [
        "  └ ⠋ Rank  5.0s  ━━━━─────────  1/3  0.2/s, 10.0s left",
        "      [1] 5.0s  one two three",
        "      [2] 5.0s  one two three",
    ]
    canvas = Canvas(80, 24)
    few = [line.plain for line in live_lines(watching(events[:begun]), 5.0, canvas, 1)]
    assert few[-2:] == ["      [0] 5.0s  one two three", "      … 2 more items at work"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_an_item_stands_under_its_label(text: str) -> None:
    """In the tree and in plain lines, whatever a model calls it."""
    run = Recorder()
    batch = run.start(ev.NodeStart, "Read", run.root)
    own: dict[str, Any] = {"items": (0,), "total": 2}
    run.start(ev.ItemStart, "Read", batch, label=f"a.pdf {text}", **own)
    run.start(ev.ItemStart, "Read", batch, label="b.pdf", **own | {"items": (1,)})
    lines = region(watching(run.events))
    assert lines[-2].startswith("    [0] a.pdf")
    assert lines[-2].endswith(" 5.0s")
    assert lines[-1] == "    [1] b.pdf 5.0s"
    plain = Lines(Watch())
    told = [line for event in run.events for line in plain.take(event)]
    assert told[-1] == "Read[1]: start, b.pdf"
    assert told[-2].startswith("Read[0]: start, a.pdf")
    assert not CONTROLS & set("".join([*lines, *told]))


def test_progress_is_a_bar_with_rate_and_time_left() -> None:
    """From the first progress on; the label stands behind it."""
    run = Recorder()
    span = run.start(ev.NodeStart, "Load", run.root)
    watch = watching(run.events)
    watch.take(run.add(ev.Progress, span, "Load", done=0, total=4, label="pages"), 2.0)
    watch.take(run.add(ev.Progress, span, "Load", done=1, total=4, label="pages"), 5.0)
    assert region(watch, now=6.0)[1] == (
        "└ ⠋ Load  6.0s  ━━━──────────  1/4  0.2/s, 12.0s left  pages"
    )


def test_several_runs_share_a_display() -> None:
    """Interleaved, each has its number, tree and texts; the display goes on to the last end."""
    first, second = agent(), Recorder("run-2", "other")
    second.step("Plan", "other text")
    screen = Screen()
    display = still(screen)
    middle = len(first) // 2
    for event in (*first[:middle], *second.events, *first[middle:]):
        display(event)
    display.refresh()
    assert not screen.has_cursor()
    assert "✗ (1) Answer" in screen.shown
    assert "✓ (2) Plan  0.5s  → end  first 0.1s\n  other text\n" in screen.shown
    assert "(1) ✗ agent  3.0s  run run-1\n" in screen.shown
    for event in second.end()[-1:]:
        display(event)
    assert screen.shown.endswith("(2) ✓ other  3.0s  run run-2\n└ ✓ Plan  0.5s  → end")
    assert screen.has_cursor()


def test_only_some_nodes_are_shown() -> None:
    """By path, pattern or function; a nested node stands below what is shown of those above it."""
    found = [line[2:].split("  ")[0] for line in picture(agent(), show="*Rank").splitlines()[-2:]]
    assert found == ["agent", "✓ Research/Rank"]
    assert "look here" not in picture(agent(), show=["Answer", "Research*"])
    shown = picture(agent(), show=lambda path: path == "Answer")
    assert "is 42" in shown
    assert "Research" not in shown
    assert "Ship it?" in shown  # a question is always shown
    lines = Lines(Watch(lambda path: path == "Plan"))
    told = [line for event in agent() for line in lines.take(event)]
    assert {line.split()[0].rstrip(":") for line in told} == {"agent", "Plan", "Approve"}
    run = Recorder()
    span = run.start(ev.NodeStart, "Quiet", run.root)
    run.add(ev.NodeEnd, span, "Quiet", status="ok", duration=0.5, result="secret")
    lines = Lines(Watch(lambda path: path == "Plan"))
    assert [line for event in run.events for line in lines.take(event)] == [
        "agent: start, run run-1"
    ]


@pytest.mark.parametrize("height", [4, 5, 8, 24])
@pytest.mark.parametrize("width", [2, 3, 5, 9, 10, 20, 40, 80, 200])
def test_the_region_fits_every_screen(width: int, height: int) -> None:
    """A hundred nodes, a hundred items, ten texts: never as high as the screen, nor wider."""
    run = Recorder(flow="flow " * 50)
    for n in range(100):
        run.step(f"Done{n}", "日本語のテキスト " * 20)
    flow = run.start(ev.FlowStart, "Batch", run.root, attempt=0, flow="Batch")
    for n in range(100):
        own: dict[str, Any] = {"items": (n,)}
        item = run.start(ev.ItemStart, "Batch", flow, attempt=0, total=100, **own)
        span = run.start(ev.NodeStart, f"Batch/Talk{n % 10}", item, **own)
        run.add(ev.Chunk, span, f"Batch/Talk{n % 10}", data="👩‍👩‍👧‍👦 é " * 99, **own)
    lines = region(watching(run.events), width, height)
    assert 0 < len(lines) < height
    assert max(map(cell_len, lines)) <= width
    if height == 24 and width >= 40:
        assert any("finished before" in line for line in lines)


def test_a_loop_of_many_steps_is_remembered_as_a_count() -> None:
    """State grows with the nodes of the graph, not with the steps of the run."""
    run = Recorder()
    watch = watching(run.events)
    for _ in range(2_000):
        run.step("Plan")
        for event in run.events[-3:]:
            watch.take(event, 0.0)
    (known,) = watch.runs.values()
    assert (len(known.steps), len(known.rows), len(watch.entries)) == (1, 2, 0)
    assert known.root.rows[0].started == 2_000


# -- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 3, 9, 10, 40, 80, 200])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_wrapped_text_is_whole_and_fits(text: str, width: int) -> None:
    """No line is too wide, and nothing but white space is lost."""
    cleaned = Canvas(width, 24).text(text)
    lines = list(wrap(cleaned, width))
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(cleaned.split())


def test_text_is_wrapped_at_words_and_between_clusters() -> None:
    """Words that are too long are broken; families and accents are not."""
    assert list(wrap("one two three", 7)) == ["one two", "three"]
    assert list(wrap("x" * 12 + " y", 5)) == ["xxxxx", "xxxxx", "xx y"]
    assert list(wrap("日本語のテキスト", 7)) == ["日本語", "のテキ", "スト"]
    assert list(wrap("👩‍👩‍👧‍👦" * 5 + "e\u0301", 4)) == [
        "👩‍👩‍👧‍👦" * 2,
        "👩‍👩‍👧‍👦" * 2,
        "👩‍👩‍👧‍👦e\u0301",
    ]


def hostile_run(text: str) -> list[Event]:
    """A run that holds the text in every place in which a model might put one."""
    run = Recorder(text or "run", text or "flow")
    name = text.replace("/", "").replace("#", "") or "node"
    span = run.start(ev.NodeStart, name, run.root)
    run.add(ev.Chunk, span, name, data=text)
    run.add(ev.Chunk, span, name, data=text, kind=text)
    run.add(ev.Chunk, span, name, data={text: [text]})
    run.add(ev.Progress, span, name, done=1, total=2, label=text)
    run.add(ev.Interrupt, span, name, id="q", prompt=text, choices=[text, {text: text}])
    run.add(ev.Reply, span, name, id="q", value=text)
    run.add(ev.Interrupt, span, name, id="r", prompt=[text], schema={"type": text})
    run.add(ev.Reply, span, name, id="r", value=[text])
    run.add(ev.Retry, span, name, error=text or "E")
    run.add(ev.NodeEnd, span, name, attempt=2, status="ok", duration=0.5)
    run.add(ev.Action, span, name, attempt=2, action=text)
    run.step(name, text, step=2, target=name)
    run.add(ev.FlowEnd, run.root, "", step=0, status="error", duration=1.0, error=text or "E")
    return run.events


@pytest.mark.parametrize("width", [2, 5, 40, 80, 200])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_commands_the_terminal(text: str, width: int) -> None:
    """At every moment of the run; the screen of the tests fails on any code it does not know."""
    screen = Screen(width)
    display = TerminalDisplay(
        console=screen.console(), refresh_per_second=0, answers_here=False, get_time=lambda: 1.0
    )
    for event in hostile_run(text):
        display(event)
        display.refresh()
    assert screen.has_cursor()
    screen.shown.encode()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_breaks_a_plain_line(text: str) -> None:
    """Each line is one line, and begins with a name, not with what a model wrote."""
    for line in lines_of(hostile_run(text)):
        assert not (CONTROLS | set("\n\t\u2028\u2029")) & set(line)
        line.encode()


@pytest.mark.parametrize("width", [5, 80])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_markdown_commands_the_terminal(text: str, width: int) -> None:
    """Nor do links, HTML, code or entities, nor is a table wider than the screen."""
    screen = Screen(width)
    display = still(screen, markdown=True, answers_here=False)
    for shape in (text, f"```\n{text}\n```", f"|a|b|\n|-|-|\n|{text}|x|", f"[{text}]({text})"):
        for event in hostile_run(shape):
            display(event)
    assert screen.has_cursor()
    assert "\x1b]" not in screen.getvalue()


MARKDOWN = """\
# Plan

1. **First** look at `files`.
2. Then <b>ask</b> [Ada](http://ada.example).

```python
print("x")
```
&#x41;&lt;
"""


def test_markdown_is_shown_as_such() -> None:
    """When a step has ended well, where it is asked for; no text is lost."""
    run = Recorder()
    run.step("Answer", MARKDOWN)
    span = run.start(ev.NodeStart, "Again", run.root)
    run.add(ev.Chunk, span, "Again", data="**void**")
    run.add(ev.Retry, span, "Again", error="ValueError: no")
    shown = picture(run.events, width=60, markdown=True).splitlines()
    assert [line.strip() for line in shown[1:13] if line][:6] == [
        "Plan",
        "1 First look at files.",
        "2 Then <b>ask</b> Ada (http://ada.example).",
        'print("x")',
        "A<",
        "↻ Again  attempt 1 is void, attempt 2 follows  first 0.1s",
    ]
    assert "  **void**" in shown
    assert "  # Plan" in picture(run.events, width=60)


def test_markdown_that_cannot_be_shown_is_text() -> None:
    """An entity must not become what is escaped everywhere else."""
    run = Recorder()
    run.step("Answer", "*txt* &#x202e;")
    assert "  *txt* &#x202e;" in picture(run.events, markdown=True)


def test_markup_and_html_are_text() -> None:
    """As they stand, in the picture and in a recorded SVG."""
    run = Recorder(flow="[bold]x")
    run.step("[red]Plan", "[link=http://evil.example]x[/link] :smile: <script>", target=None)
    shown = picture(run.end())
    assert "✓ [red]Plan" in shown
    assert "  [link=http://evil.example]x[/link] :smile: <script>" in shown
    console = Console(file=io.StringIO(), record=True, width=80)
    console.print(Picture(run.events))
    svg = console.export_svg(title="x")
    assert "<script" not in svg
    assert "href" not in svg


class Tags(HTMLParser):
    """Which elements a page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        assert {name for name, _ in attrs} <= {"style"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_becomes_a_part_of_a_notebook(text: str) -> None:
    """What a cell gets is styled text: no element, no link, no script comes from an event."""
    watch = watching(hostile_run(text))
    canvas = Canvas(80, 24)
    page = as_html([line for each in watch.entries for line in entry_lines(each, canvas)], 80)
    assert Tags(page).found <= {"span"}
    assert not CONTROLS & set(page)


def test_a_screen_that_knows_no_unicode_gets_none() -> None:
    """Signs become ASCII, and text that cannot be shown becomes escapes."""

    class Latin(Screen):
        encoding = "latin-1"

    run = Recorder()
    run.step("Plan", "日本 é", action="done")
    screen = Latin()
    display = still(screen)
    for event in run.end():
        display(event)
    assert screen.shown == (
        "+ Plan  0.5s  -> end (done)  first 0.1s\n  \\u65e5\\u672c é\n"
        "+ agent  3.0s\n`-+ Plan  0.5s  -> end (done)"
    )


# -- records --------------------------------------------------------------------------------------


def test_truncated_records_never_raise() -> None:
    """Without any beginning, any end, or any single event."""
    events = agent()
    for n in range(len(events)):
        for part in (events[:n], events[n:], [*events[:n], *events[n + 1 :]], events[n::-1]):
            picture(part)
            lines_of(part)


def test_a_run_that_is_sent_again_is_shown_again() -> None:
    """What comes late for a run that has ended is ignored; its beginning is a new one."""
    watch = watching(agent())
    assert not watch.runs
    watch.take(agent()[2], 0.0)
    assert not watch.runs
    for event in agent():
        watch.take(event, 0.0)
    assert not watch.runs
    assert len(watch.entries) == 2 * len(watching(agent()).entries)


# -- plain lines ----------------------------------------------------------------------------------


def test_plain_lines() -> None:
    """A line per start, end, action, retry, question and answer, and per line of text."""
    assert "\n".join(lines_of(agent())) == LINES


def test_plain_lines_lose_nothing_of_a_text() -> None:
    """However it is cut into chunks; a line without an end is broken at a space."""
    text = "First line\r\n\n" + "word " * 1_000 + "\nlast"
    for size in (1, 7, 10_000):
        run = Recorder()
        run.step("Talk", *(text[n : n + size] for n in range(0, len(text), size)))
        said = [
            line.partition("|")[2][1:] for line in lines_of(run.end()) if line.startswith("Talk |")
        ]
        assert size > 1_000 or max(map(len, said)) <= 1_000
        assert "".join("".join(said).split()) == "".join(text.split())
        assert said[:2] == ["First line", ""]
        assert said[-1] == "last"


def test_plain_lines_of_several_runs_have_their_numbers() -> None:
    """As long as more than one is open."""
    first, second = Recorder("a", "one"), Recorder("b", "two")
    events = [*first.events, *second.events]
    first.step("Plan", "text")
    assert lines_of([*events, *first.events[1:]])[1:4] == [
        "(2) two: start, run b",
        "(1) Plan: start",
        "(1) Plan | text",
    ]


# -- results --------------------------------------------------------------------------------------


def captured() -> list[Event]:
    """A run that captures what nodes return: some speak, some do not, nor does a batch."""
    run = Recorder()
    steps: list[tuple[str, list[str], Any, str]] = [
        ("Read", [], "two\nlines", "Count"),
        ("Count", [], {"words": 3}, "Talk"),
        ("Talk", ["Hello ", "you"], ["Hello ", "you"], "Quiet"),
        ("Quiet", [], None, "Each"),
    ]
    for name, said, result, target in steps:
        span = run.start(ev.NodeStart, name, run.root)
        for chunk in said:
            run.add(ev.Chunk, span, name, data=chunk)
        run.add(ev.NodeEnd, span, name, status="ok", duration=0.5, result=result)
        run.add(ev.Action, span, name, action=None, target=target)
    for name, speaks, next_one in (("Each", False, "Stream"), ("Stream", True, None)):
        batch = run.start(ev.NodeStart, name, run.root)
        for n in range(2):
            item = run.start(ev.ItemStart, name, batch, items=(n,), total=2)
            if speaks:
                run.add(ev.Chunk, item, name, items=(n,), data=f"item {n}")
            own: dict[str, Any] = {"items": (n,), "status": "ok", "duration": 0.3}
            run.add(ev.ItemEnd, item, name, done=n + 1, total=2, **own)
        run.add(ev.NodeEnd, batch, name, status="ok", duration=0.5, result=["item 0", "item 1"])
        run.add(ev.Action, batch, name, action=None, target=next_one)
    return run.end()


def test_what_a_node_returns_that_says_nothing_is_shown() -> None:
    """At its place, where the run captures it; never twice."""
    assert picture(captured()).splitlines()[:14] == [
        *("✓ Read  0.5s  → Count", "  two", "  lines"),
        *("✓ Count  0.5s  → Talk", "  {'words': 3}"),
        *("✓ Talk  0.5s  → Quiet  first 0.1s", "  Hello you"),
        *("✓ Each  0.5s  → Stream", "  ['item 0', 'item 1']"),
        *("✓ Stream[0]  0.3s  first 0.1s", "  item 0", "✓ Stream[1]  0.3s  first 0.1s", "  item 1"),
        "✓ agent  3.0s",
    ]
    told = [line for line in lines_of(captured()) if "|" in line]
    assert told == [
        *("Read | two", "Read | lines", "Count | {'words': 3}", "Talk | Hello you"),
        *("Each | ['item 0', 'item 1']", "Stream[0] | item 0", "Stream[1] | item 1"),
    ]
