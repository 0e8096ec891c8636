"""What the command line is given: a flow by its module and name, `shared` as JSON, a record."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from flowevents.engine.shape import is_node
from flowevents.errors import FlowEventsError, RecordError
from flowevents.events import Event, describe_error
from flowevents.observers.jsonlines import read_events

__all__ = ["WrongInput", "load_events", "load_flow", "load_shared"]


class WrongInput(FlowEventsError):
    """What the user gave cannot be used; the text says why and what to do, in a line."""


# -- a flow -----------------------------------------------------------------------------------


def load_flow(target: str) -> Any:
    """The flow or node that `"module:name"` names; a function of that name is called for it.

    Modules are looked for in the current folder first, as `python -m` does. Raises `WrongInput`
    where there is none, or where a run of it could not begin.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise WrongInput(f"{target!r} is not MODULE:FLOW, such as agent:flow.")
    module = found = _module(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise WrongInput(f"Module {module_name!r} has no {name!r}. {_flows_of(module)}")
        found = getattr(found, part)
    if inspect.isfunction(found):
        try:
            found = found()
        except Exception as error:
            raise WrongInput(f"{target}() failed with {_described(error)}.") from error
    if isinstance(found, type):
        raise WrongInput(
            f"{target} is a class. Name an instance of it, or a function that gives one."
        )
    if not is_node(found):
        raise WrongInput(f"{target} is no flow and no node: {found!r}. {_flows_of(module)}")
    return found


def _module(name: str) -> Any:
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise WrongInput(
                f"There is no module {error.name!r}, neither in {folder} nor installed. "
                + (
                    f"Did you mean {name.removesuffix('.py')!r}?"
                    if name.endswith(".py")
                    else "Go to the folder that it is in."
                )
            ) from None
        raise WrongInput(f"Importing {name!r} failed with {_described(error)}.") from error
    except (Exception, SystemExit) as error:
        raise WrongInput(f"Importing {name!r} failed with {_described(error)}.") from error


def _described(error: BaseException) -> str:
    """An error and where it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return describe_error(error) + ("" if isinstance(error, SyntaxError) else place)


def _flows_of(module: Any) -> str:
    names = [name for name, value in vars(module).items() if is_node(value)]
    if not names:
        return "There is no flow and no node in that module."
    return f"There is {', '.join(names)}."


# -- files ------------------------------------------------------------------------------------


def load_shared(path: str) -> dict[str, Any]:
    """The JSON object in a file, or of stdin for `"-"`. Raises `WrongInput` for anything else."""
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        shared = json.loads(raw)
    except OSError as error:
        raise WrongInput(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise WrongInput(f"{path} holds no JSON: {error}.") from None
    if not isinstance(shared, dict):
        example = '{"question": "…"}'
        raise WrongInput(f"{path} holds no JSON object, as `shared` is one: {example}.")
    return shared


def load_events(path: str) -> list[Event]:
    """The events of a record, or of stdin for `"-"`.

    Raises `WrongInput` for a file that cannot be read, that is no record, or that holds no event.
    """
    try:
        events = list(read_events(sys.stdin.buffer if path == "-" else path))
    except OSError as error:
        raise WrongInput(f"{path} cannot be read: {error.strerror}.") from None
    except RecordError as error:
        raise WrongInput(f"{error} Give a file that JsonLines, or `run --record`, wrote.") from None
    if not events:
        raise WrongInput(f"{path} holds no events. JsonLines, or `run --record`, writes them.")
    return events
