"""Each line of `python -m benchmarks` does its work right; how fast is not asked here."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import WORKS
from benchmarks.measure import SMOKE, Work, WrongResult, expect

EDGES = ("Dask", "Ray")
MARKED = [
    pytest.param(
        work, id=work.work, marks=[pytest.mark.edge] * any(each in work.work for each in EDGES)
    )
    for work in WORKS
]


@pytest.mark.parametrize("work", MARKED)
@pytest.mark.usefixtures("threads_end")
def test_each_work_computes_a_right_result(work: Work) -> None:
    """Measuring a little of it is the test: it raises `WrongResult` where work was not done."""
    row = work.measure(SMOKE)
    assert row.work == work.work
    assert row.flowevents > 0
    assert row.reference is None or row.reference > 0


def test_a_wrong_result_is_an_error() -> None:
    """The check names what is wrong."""
    with pytest.raises(WrongResult, match="the steps taken to be 3, got 2"):
        expect(2, 3, "the steps taken")
