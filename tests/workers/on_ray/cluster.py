"""A Ray cluster of this machine, on its loopback interface alone."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.workers.engines import Engine

__all__ = ["cluster"]

_THERE: Final = "FLOWEVENTS_TESTS_RAY"
"""Names the cluster, for other processes of the tests."""
_SETTINGS: Final = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else 127.0.0.1 is replaced by another address
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
}
_QUIET: Final[dict[str, Any]] = {
    "log_to_driver": False,
    "configure_logging": False,
    "logging_level": "error",
}
os.environ.update({**_SETTINGS, **os.environ})  # before the import of ray, which reads them


@contextmanager
def cluster() -> Iterator[Engine]:
    """Two CPUs of Ray; another process of the same tests joins the cluster that is there."""
    import ray

    from flowevents import RayRunner

    with _started() if _THERE not in os.environ else _joined():
        try:
            yield Engine("ray", RayRunner(), survives=True)
        finally:
            ray.shutdown()


@contextmanager
def _started() -> Iterator[None]:
    import ray

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
            **_QUIET,
        )
        os.environ[_THERE] = ray.get_runtime_context().gcs_address
        yield
        del os.environ[_THERE]


@contextmanager
def _joined() -> Iterator[None]:
    import ray

    ray.init(os.environ[_THERE], **_QUIET)
    yield
