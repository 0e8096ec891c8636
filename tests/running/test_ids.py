"""Ids that a run is given where none was asked for."""

from __future__ import annotations

import multiprocessing
import re

import pytest

from flowevents import Node, Run


def new_ids(count: int) -> list[str]:
    """The ids of so many new runs."""
    return [Run(Node(), {}).id for _ in range(count)]


def test_ids_are_128_bits_each_another() -> None:
    """As 32 hexadecimal digits."""
    ids = new_ids(1_000)
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_other_ids() -> None:
    """Also those that the parent would give next."""
    new_ids(1)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        theirs = pool.map(new_ids, [100, 100], chunksize=1)
    ids = [*theirs[0], *theirs[1], *new_ids(100)]
    assert len(set(ids)) == len(ids)
