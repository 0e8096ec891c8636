"""A Dask cluster of two processes, on the loopback interface of this machine.

It is a process of its own, `python -m tests.workers.on_dask.cluster`, so that it outlives a driver,
and what it does where a worker is killed begins no thread in the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.workers.engines import PATIENCE, Engine

__all__ = ["cluster"]

_THERE: Final = "FLOWEVENTS_TESTS_DASK"
"""Names the cluster, for other processes of the tests."""
_ROOT: Final = Path(__file__).parents[3]


@contextmanager
def cluster() -> Iterator[Engine]:
    """A client of the cluster; another process of the same tests joins the one that is there."""
    if _THERE in os.environ:
        yield from _joined(os.environ[_THERE])
        return
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # until it is closed
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    ) as process:
        assert process.stdout is not None
        os.environ[_THERE] = process.stdout.readline().strip()
        try:
            yield from _joined(os.environ[_THERE])
        finally:
            del os.environ[_THERE]


def _joined(address: str) -> Iterator[Engine]:
    import distributed

    make_client: Any = distributed.Client
    with make_client(address, set_as_default=False) as client:
        executor = client.get_executor(pure=False)
        for each in [executor.submit(_nothing, number) for number in range(8)]:
            each.result(PATIENCE)
        yield Engine("dask", executor)


def _nothing(number: int) -> None:
    """Runs in a worker."""


def _main() -> None:
    import distributed

    make_cluster: Any = distributed.LocalCluster
    with make_cluster(
        host="127.0.0.1",
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
    ) as workers:
        print(workers.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main()
