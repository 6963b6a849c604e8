"""A Ray cluster, for whoever spreads work over several machines. Ray is an extra of its own.

Every machine needs the same thalweg, and the task under the same name (a file at the same path).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REFUSED = "ray://"


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The ``ray`` module while this process is connected to a cluster; None without an address.

    Args:
        address: ``auto`` (the cluster that this machine belongs to), ``HOST:PORT``, ``local`` (one
            that starts here and ends with the block), or None.

    Raises:
        ValueError: Ray is not installed, the address is of its client protocol, or nobody answers.
    """
    if address is None:
        yield None
        return
    if address.startswith(REFUSED):
        raise ValueError(
            f"ray={address!r}: run this on a machine of the cluster and give 'auto' or HOST:PORT; "
            "Ray's client protocol does not carry what is shared here"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError(
            "several machines need Ray, which is not installed: pip install 'thalweg[ray]'"
        ) from error
    if ray.is_initialized():  # whoever connected decides when to leave
        yield ray
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"ray={address!r}: no cluster answers there ({said[:160]}). Start one with "
            "'ray start --head', or give 'local'"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def seats(ray: Any, workers: int) -> float:
    """Processors that each of so many workers may ask for, so that all of them run at once."""
    return min(1.0, ray.cluster_resources().get("CPU", 0.0) / workers)
