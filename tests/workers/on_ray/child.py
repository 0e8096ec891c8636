"""A process that drives a run on Ray, to be killed: `python -m tests.workers.on_ray.child …`."""

from __future__ import annotations

import sys

from tests.workers.child import main
from tests.workers.engines import ENGINES
from tests.workers.on_ray.cluster import cluster

if __name__ == "__main__":
    ENGINES["ray"] = cluster
    main("ray", *sys.argv[1:])
