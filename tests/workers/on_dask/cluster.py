"""A Dask cluster of two processes, on the loopback interface of this machine.

It is a process of its own, `python -m tests.workers.on_dask.cluster`, so that it outlives a driver,
and what it does where a worker is killed begins no thread in the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
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
        stdin=subprocess.PIPE,  # it ends when this is closed
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
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
    over = threading.Event()
    with make_cluster(host="127.0.0.1", n_workers=0, dashboard_address="127.0.0.1:0") as scheduler:
        address = scheduler.scheduler_address
        keepers = [threading.Thread(target=_keep_worker, args=(address, over)) for _ in range(2)]
        for each in keepers:
            each.start()
        print(address, flush=True)
        sys.stdin.read()
        over.set()
        for each in keepers:
            each.join()


def _keep_worker(address: str, over: threading.Event) -> None:
    """Have a worker run, always. Dask's own nanny forgets one that is killed as soon as it runs."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny"]
    options = ["--nthreads=1", "--host=127.0.0.1", "--no-dashboard"]
    while not over.is_set():
        with subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL) as process:
            while process.poll() is None and not over.wait(0.05):
                pass
            process.kill()


if __name__ == "__main__":
    _main()
