"""From a log to a run that goes on: what `Run.resume` and `Run.fork` make a run of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flowevents.engine.options import ResumeOptions
from flowevents.errors import EventsLost, JournalError, RunStateError
from flowevents.journal.codec import Codec
from flowevents.journal.ends import cancelled_ends
from flowevents.journal.journal import Journal
from flowevents.journal.lease import Lease
from flowevents.journal.reading import step_ends
from flowevents.journal.records import recorded
from flowevents.journal.standing import Standing

__all__ = ["completed", "past_of", "restored"]


def completed(journal: Journal, lease: Lease) -> Standing:
    """Return where a log stands; one that stands where the run had failed gets its last ends.

    Raises `RunStateError` for such a run, and `JournalError` where no event was stored.
    """
    standing = Standing(journal.records(lease.run_id))
    if standing.root is None:
        raise JournalError(
            f"Run {lease.run_id!r} was lost before its first event was stored: nothing of it can "
            "go on. Begin it anew, or delete it."
        )
    failed = standing.failed()
    if failed is not None:
        ends = cancelled_ends(standing, time.time(), failed)
        lease.append(*map(recorded, ends))
        raise RunStateError(
            f"Cannot resume run {lease.run_id}: it had failed when it was lost, and now has ended: "
            f"{failed.error or failed.status}. Run.fork goes on from its last step."
        )
    return standing


def past_of(journal: Journal, run_id: str, at: int | None) -> tuple[Standing, int]:
    """Return where a log stood after its last finished step at or before that number, and which.

    The number is 0 where none had finished. Raises `EventsLost` for a number beyond the log.
    """
    records = list(journal.records(run_id))
    if at is not None and (not records or at > records[-1].seq):
        raise EventsLost(f"Run {run_id!r} has no event {at}: it has {len(records)}.")
    ok = [e.seq for e in step_ends(records, run_id) if e.status == "ok" and e.node]
    seq = max((each for each in ok if at is None or each <= at), default=0)
    return Standing(each for each in records if each.seq <= max(seq, 1)), seq


def restored(
    standing: Standing, given: Mapping[Any, Any] | None, options: ResumeOptions
) -> tuple[Any, dict[str, Any]]:
    """Return `shared` as a log keeps it, with what is given of what it does not, and the options.

    Raises `JournalError` where something is missing, or given that the log keeps.
    """
    kept, codec = standing.options, Codec(options.get("state_types", ()))
    transient = [codec.decode(bytes(key)) for key in kept.transient]
    given = given or {}
    for key in transient:
        if key not in given:
            raise JournalError(
                f"The log does not keep shared[{key!r}], which is transient: give it again, "
                f"shared={{{key!r}: …}}."
            )
    for key in given:
        if key not in transient:
            raise JournalError(
                f"shared[{key!r}] is kept in the log, with which the run goes on: only what is "
                "transient can be given."
            )
    shared = standing.shared.value(codec)
    if given:
        shared.update(given)
    return shared, {
        "metadata": kept.metadata,
        "capture": kept.capture,
        "max_steps": kept.max_steps,
        "name": kept.name,
        "transient": transient,
        **options,
    }
