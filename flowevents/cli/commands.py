"""The commands.

Exit codes: 0; 1 where a node failed, a question was left open, or something could not be written
(a full disk, a pipe whose reader has left), which is said in one line; 2 for input that is wrong,
with one line that says what is and what to do; 130 after Ctrl-C.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from flowevents.cli.journals import is_journal, journal_events, lines_of, opened, typed_answer
from flowevents.cli.loading import WrongInput, load_events, load_flow, load_shared
from flowevents.cli.output import guarded_output, say, why
from flowevents.cli.replaying import replay as replay_events
from flowevents.cli.showing import drive_shown
from flowevents.errors import FlowEventsError, MissingExtra
from flowevents.events import Event
from flowevents.run import Run
from flowevents.status import RunStatus

try:
    import click
except ImportError as _missing:
    raise MissingExtra(
        "The command line needs the package click, which is not installed. "
        "Install the extra: pip install flowevents[cli]"
    ) from _missing

__all__ = ["run_command"]

FAILED: Final = 1
WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130

_STATUSES: Final = ("running", "paused", "done", "failed", "cancelled")


def run_command(arguments: Sequence[str]) -> int:
    """Run a command with these arguments, without the program's name. Gives the exit code."""
    with guarded_output() as file:
        code = _run(arguments)
    if file is None or file.error is None:
        return code
    say(why("The output", file.error))
    return code or FAILED


def _run(arguments: Sequence[str]) -> int:
    try:
        code = _commands.main(list(arguments), prog_name="flowevents", standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "flowevents"
        say(f"{error.format_message()} Try '{path} --help'.")
        return WRONG_INPUT
    except FlowEventsError as error:
        say(str(error))
        return WRONG_INPUT
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flowevents")
@click.pass_context
def _commands(context: click.Context) -> None:
    """Run graphs of LLM nodes and watch them; show and draw what was recorded."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_record = click.argument("file", type=click.Path(allow_dash=True))
_of_run = click.option("--run", "run_id", metavar="ID", help="Of a journal only this run.")
_journal = click.argument("journal")
_run_id = click.argument("run_id", metavar="RUN")
_flow = click.argument("flow", metavar="MODULE:FLOW")
_output = click.option(
    "-o", "--output", default="-", metavar="FILE", help="Where to write; by default to stdout."
)


def _shown(command: Callable[..., int]) -> Callable[..., int]:
    """The options of what runs a flow and shows it, as keywords of `drive_shown`."""
    log = "Log events on stderr; in a terminal instead of showing."
    record = "Append every event to FILE, as a line of JSON."
    otel = "Send traces and metrics by OpenTelemetry (OTLP)."
    command = click.option("--otel", is_flag=True, help=otel)(command)
    command = click.option("--record", metavar="FILE", help=record)(command)
    return click.option("--log", is_flag=True, help=log)(command)


# -- records ----------------------------------------------------------------------------------


@_commands.command()
@_record
@_of_run
def show(file: str, run_id: str | None) -> None:
    """Show recorded runs: what the display leaves on the screen.

    FILE is what JsonLines, or `run --record`, wrote, or a journal; "-" is stdin.
    """
    from rich.console import Console

    from flowevents.observers.display import Picture

    Console().print(Picture(_recorded(file, run_id)))


@_commands.command()
@_record
@_of_run
@click.option(
    "--speed",
    type=float,
    default=1.0,
    show_default=True,
    metavar="N",
    help="How many times as fast; 0 or inf is without pauses.",
)
def replay(file: str, run_id: str | None, speed: float) -> None:
    """Show recorded runs as they went.

    FILE is what JsonLines, or `run --record`, wrote, or a journal; "-" is stdin. Pauses are as they
    were, but for the time in which no run was under way. Nothing is run and nothing is asked.
    """
    from flowevents.observers.display import TerminalDisplay

    if math.isnan(speed) or speed < 0:
        raise WrongInput(f"--speed {speed:g}: give a number above 0, or 0 for no pauses.")
    events = _recorded(file, run_id)
    with TerminalDisplay(answers_here=False) as display:
        replay_events(events, display, speed, get_time=time.monotonic, sleep=time.sleep)


@_commands.command()
@_record
@_of_run
@_output
@click.option("--width", type=int, default=1200, show_default=True, help="In pixels.")
def timeline(file: str, run_id: str | None, output: str, width: int) -> None:
    """Draw recorded runs as a waterfall, in SVG.

    FILE is what JsonLines, or `run --record`, wrote, or a journal; "-" is stdin.
    """
    from flowevents.observers.timeline import timeline_svg

    events = _recorded(file, run_id)
    try:
        picture = timeline_svg(events, width=width)
    except ValueError as error:
        raise WrongInput(f"--width: {error}") from None
    _write(output, picture)


def _recorded(file: str, run_id: str | None) -> list[Event]:
    """The events of a record, or of a journal."""
    if is_journal(file):
        return journal_events(file, run_id)
    if run_id is not None:
        raise WrongInput(f"--run: {file} is no journal.")
    return load_events(file)


# -- journals ---------------------------------------------------------------------------------


@_commands.command()
@_journal
@click.option("--status", type=click.Choice(_STATUSES), help="Only those that are.")
@click.option("--limit", type=int, default=100, show_default=True, help="At most so many.")
def runs(journal: str, status: RunStatus | None, limit: int) -> None:
    """List the runs of a journal, and what they ask.

    The one that began last comes first. JOURNAL is the file of an SQLiteJournal, or the URL of a
    RedisJournal's server.
    """
    with opened(journal) as there:
        for line in lines_of(there.runs(status, limit)):
            click.echo(line)


@_commands.command()
@_journal
@_run_id
@click.argument("answer")
@click.option("--id", metavar="ID", help="Of the question; needed where several are open.")
def reply(journal: str, run_id: str, answer: str, id: str | None) -> None:
    """Answer what a run of a journal asks.

    ANSWER is the text, the number or the beginning of a choice, or what the question's type needs:
    yes or no, a number, JSON.
    """
    with opened(journal) as there:
        there.reply(run_id, typed_answer(there.summary(run_id), id, answer), id)


@_commands.command()
@_journal
@_run_id
def cancel(journal: str, run_id: str) -> None:
    """Cancel a run of a journal, whoever drives it, or nobody."""
    with opened(journal) as there:
        there.cancel(run_id)


# -- flows ------------------------------------------------------------------------------------


@_commands.command()
@_flow
@_output
@click.option("--events", metavar="FILE", help="Colour it by the runs recorded there.")
def graph(flow: str, output: str, events: str | None) -> None:
    """Draw a flow as a Mermaid graph.

    MODULE:FLOW is a module and a flow or node in it, or a function that gives one.
    """
    from flowevents.mermaid import to_mermaid

    loaded = load_flow(flow)
    _write(output, to_mermaid(loaded, None if events is None else load_events(events)))


@_commands.command()
@_flow
@click.option("--input", "shared", metavar="FILE", help='JSON object for `shared`; "-" for stdin.')
@_shown
def run(flow: str, shared: str | None, **shown: Any) -> int:
    """Run a flow, sync or async, and show it.

    MODULE:FLOW is a module and a flow or node in it, or a function that gives one. Questions are
    asked in the terminal.
    """
    loaded = load_flow(flow)
    given = {} if shared is None else load_shared(shared)
    return 0 if drive_shown(loaded, partial(Run, loaded, given), **shown) else FAILED


@_commands.command()
@click.argument("flows", nargs=-1, required=True, metavar="[NAME=]MODULE:FLOW…")
@click.option("--db", metavar="FILE", help="Keep the runs there, or at a redis:// URL.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8321,
    show_default=True,
    help="0 is any that is free.",
)
def serve(flows: Sequence[str], db: str | None, host: str, port: int) -> None:
    """Serve flows over HTTP, with a page to start and watch them.

    Each is called what it is called in its module, or NAME. Without --db runs are kept in memory.
    With it the server goes on with those that another one has left. Ctrl-C ends it.
    """
    from flowevents.cli.serving import flows_of, serve_flows

    serve_flows(flows_of(flows), db, host, port, lambda address: click.echo(f"Open {address}"))


# -- runs in a journal ------------------------------------------------------------------------


@_commands.command()
@_journal
@_run_id
@_flow
@click.option("--take-over", is_flag=True, help="Also where it is driven elsewhere.")
@_shown
def resume(journal: str, run_id: str, flow: str, take_over: bool, **shown: Any) -> int:
    """Go on with a run where its log stands, and show it.

    JOURNAL is an SQLite file or a redis:// URL, MODULE:FLOW the flow as it was run first. Questions
    are asked in the terminal. Ctrl-C lets the run go: it can be resumed again.
    """
    loaded = load_flow(flow)
    with opened(journal) as there:
        begin = partial(Run.resume, loaded, there, run_id, take_over=take_over)
        return 0 if drive_shown(loaded, begin, **shown) else FAILED


@_commands.command()
@_journal
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--answer", is_flag=True, help="Ask its questions here.")
def watch(journal: str, run_id: str | None, answer: bool) -> None:
    """Show a run of another process as it goes on.

    JOURNAL is an SQLite file or a redis:// URL. Without RUN it is the run that began last. Ctrl-C
    ends the watching, not the run.
    """
    from flowevents.cli.watching import watch_run

    with opened(journal) as there:
        if run_id is None:
            newest = there.runs(limit=1)
            if not newest:
                raise WrongInput(f"{journal} holds no runs. Run(…, journal=…) puts them there.")
            run_id = newest[0].id
        watch_run(there, run_id, answer=answer)


def _write(path: str, text: str) -> None:
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise WrongInput(why(path, error)) from None
