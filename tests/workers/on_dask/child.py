"""A process that drives a run on Dask, to be killed: `python -m tests.workers.on_dask.child …`."""

from __future__ import annotations

import sys

from tests.workers.child import main
from tests.workers.engines import ENGINES
from tests.workers.on_dask.cluster import cluster

if __name__ == "__main__":
    ENGINES["dask"] = cluster
    main("dask", *sys.argv[1:])
