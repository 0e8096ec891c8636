"""The commands.

Exit codes: 0; 1 where a node failed, a question was left open, or something could not be written
(a full disk, a pipe whose reader has left), which is said in one line; 2 for input that is wrong,
with one line that says what is and what to do; 130 after Ctrl-C.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Final, TextIO, cast

from flowevents.cli.driving import drive
from flowevents.cli.loading import WrongInput, load_events, load_flow, load_shared
from flowevents.cli.output import Guarded, Output, why
from flowevents.cli.replaying import replay as replay_events
from flowevents.engine.shape import shape_of
from flowevents.errors import GraphError, MissingExtra, Paused, RecordError
from flowevents.escape import escape_controls
from flowevents.events import Event
from flowevents.messages import traceback_text
from flowevents.run import Run

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


def run_command(arguments: Sequence[str]) -> int:
    """Run a command with these arguments, without the program's name. Gives the exit code."""
    output, code = Output(sys.stdout), FAILED
    with redirect_stdout(cast(TextIO, output)):
        try:
            code = _run(arguments)
            output.flush()
        except (OSError, SystemExit):
            if output.error is None:
                raise
    if output.error is None:
        return code
    output.discard()
    _say(why("The output", output.error))
    return code or FAILED


def _run(arguments: Sequence[str]) -> int:
    try:
        code = _commands.main(list(arguments), prog_name="flowevents", standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "flowevents"
        _say(f"{error.format_message()} Try '{path} --help'.")
        return WRONG_INPUT
    except (WrongInput, MissingExtra) as error:
        _say(str(error))
        return WRONG_INPUT
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _say(text: str) -> None:
    with suppress(OSError):
        print(f"flowevents: {escape_controls(text, one_line=True)}", file=sys.stderr)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flowevents")
@click.pass_context
def _commands(context: click.Context) -> None:
    """Run graphs of LLM nodes and watch them; show and draw what was recorded."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_record = click.argument("file", type=click.Path(allow_dash=True))
_flow = click.argument("flow", metavar="MODULE:FLOW")
_output = click.option(
    "-o", "--output", default="-", metavar="FILE", help="Where to write; by default to stdout."
)


# -- records ----------------------------------------------------------------------------------


@_commands.command()
@_record
def show(file: str) -> None:
    """Show recorded runs: what the display leaves on the screen.

    FILE is what JsonLines, or `run --record`, wrote; "-" is stdin.
    """
    from rich.console import Console

    from flowevents.observers.display import Picture

    Console().print(Picture(load_events(file)))


@_commands.command()
@_record
@click.option(
    "--speed",
    type=float,
    default=1.0,
    show_default=True,
    metavar="N",
    help="How many times as fast; 0 or inf is without pauses.",
)
def replay(file: str, speed: float) -> None:
    """Show recorded runs as they went.

    FILE is what JsonLines, or `run --record`, wrote; "-" is stdin. Pauses are as they were, but for
    the time in which no run was under way. Nothing is run and nothing is asked.
    """
    from flowevents.observers.display import TerminalDisplay

    if math.isnan(speed) or speed < 0:
        raise WrongInput(f"--speed {speed:g}: give a number above 0, or 0 for no pauses.")
    events = load_events(file)
    with TerminalDisplay(answers_here=False) as display:
        replay_events(events, display, speed, get_time=time.monotonic, sleep=time.sleep)


@_commands.command()
@_record
@_output
@click.option("--width", type=int, default=1200, show_default=True, help="In pixels.")
def timeline(file: str, output: str, width: int) -> None:
    """Draw recorded runs as a waterfall, in SVG.

    FILE is what JsonLines, or `run --record`, wrote; "-" is stdin.
    """
    from flowevents.observers.timeline import timeline_svg

    events = load_events(file)
    try:
        picture = timeline_svg(events, width=width)
    except ValueError as error:
        raise WrongInput(f"--width: {error}") from None
    _write(output, picture)


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
    try:
        drawn = to_mermaid(loaded, None if events is None else load_events(events))
    except GraphError as error:
        raise WrongInput(str(error)) from None
    _write(output, drawn)


@_commands.command()
@_flow
@click.option("--input", "shared", metavar="FILE", help='JSON object for `shared`; "-" for stdin.')
@click.option("--log", is_flag=True, help="Log events on stderr; in a terminal instead of showing.")
@click.option("--record", metavar="FILE", help="Append every event to FILE, as a line of JSON.")
@click.option("--otel", is_flag=True, help="Send traces and metrics by OpenTelemetry (OTLP).")
def run(flow: str, shared: str | None, log: bool, record: str | None, otel: bool) -> int:
    """Run a flow, sync or async, and show it.

    MODULE:FLOW is a module and a flow or node in it, or a function that gives one. Questions are
    asked in the terminal.
    """
    loaded = load_flow(flow)
    given = {} if shared is None else load_shared(shared)
    with ExitStack() as stack:
        observers = _observers(stack, log=log, record=record, otel=otel)
        driven = Run(loaded, given, observers=observers)
        error = drive(driven, is_async=shape_of(loaded).is_async)
    if isinstance(error, Paused):  # said when the display is done
        for asked in error.interrupts:
            _say(f"{asked.node} asked {asked.prompt!r}, and nobody answered: stdin has ended.")
    elif error is not None and not _is_of_output(error):
        watched = log or _is_one_place(sys.stdout, sys.stderr)
        _tell(error, shown=watched and driven.status == "failed")
    lost = [each for each in observers if isinstance(each, Guarded) and each.error is not None]
    for each in lost:
        _say(why(each.name, cast(Exception, each.error)))
    return FAILED if lost or error is not None else 0


def _is_of_output(error: Exception) -> bool:
    """Whether a node could not print, which is said of the output as a whole."""
    lost = getattr(sys.stdout, "error", None)
    return isinstance(error, OSError) and lost is not None and error.errno == lost.errno


def _observers(stack: ExitStack, *, log: bool, record: str | None, otel: bool) -> list[object]:
    """Who watches a run; what they need is closed with the stack."""
    from flowevents.observers.console import ConsoleAnswers

    observers: list[object] = []
    if log:
        observers.append(Guarded(_log(), "stderr"))
    if record is not None:
        observers.append(Guarded(stack.enter_context(_recorder(record)), record))
    if otel:
        try:
            from flowevents.observers.traces import TraceObserver
        except MissingExtra as missing:
            raise WrongInput(f"--otel: {missing}") from None
        from flowevents.cli.telemetry import exporting

        stack.enter_context(exporting())
        observers.append(stack.enter_context(TraceObserver()))
    if not (log and sys.stderr.isatty()):  # both would write over one another
        from flowevents.observers.display import TerminalDisplay

        observers.append(stack.enter_context(TerminalDisplay()))
    return [*observers, ConsoleAnswers()]


def _recorder(path: str) -> Any:
    from flowevents.observers.jsonlines import JsonLines

    try:
        return JsonLines(path)
    except OSError as error:
        raise WrongInput(why(path, error)) from None
    except RecordError as error:
        raise WrongInput(str(error)) from None


class _ToStderr(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:
        raise  # what it failed with


def _log() -> Callable[[Event], object]:
    from flowevents.observers.logs import LogObserver

    logger = logging.getLogger("flowevents.events")
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return LogObserver(logger)


def _tell(error: Exception, *, shown: bool) -> None:
    """Write an error's traceback, of the user's code only, and what it says, unless it is shown."""
    with suppress(OSError):
        text = traceback_text(error, whole=False, message=not shown)
        print(text, end="", file=sys.stderr)


def _is_one_place(one: TextIO, other: TextIO) -> bool:
    """Whether they write to the same terminal or file."""
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):
        return False


def _write(path: str, text: str) -> None:
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise WrongInput(why(path, error)) from None
