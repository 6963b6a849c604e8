"""Many workers, one answer: elastic averaging and its relatives, and data-parallel minibatches."""

from __future__ import annotations

from typing import Any

from thalweg.registry import Member, Registry, resolve

_ZHANG = "Zhang, Choromanska and LeCun 2015"
_DEAN = "Dean et al. 2012"

METHODS = Registry(
    "parallel method",
    Member("easgd", "thalweg.parallel.worker:EASGD", "workers on springs to one centre", _ZHANG),
    Member("eamsgd", "thalweg.parallel.worker:EAMSGD", "the same with Nesterov momentum", _ZHANG),
    Member("downpour", "thalweg.parallel.worker:Downpour", "the centre adds what they did", _DEAN),
    Member(
        "mdownpour", "thalweg.parallel.worker:MomentumDownpour", "momentum at the centre", _ZHANG
    ),
)

_PUBLIC = {
    "ElasticAveraging": "thalweg.parallel.worker:ElasticAveraging",
    "MemoryCenter": "thalweg.parallel.centers.memory:MemoryCenter",
    "FileCenter": "thalweg.parallel.centers.file:FileCenter",
    "simulate": "thalweg.parallel.simulation:simulate",
    "synchronous_step": "thalweg.parallel.synchronous:synchronous_step",
    "data_parallel_gradient": "thalweg.parallel.data_parallel:data_parallel_gradient",
    "train": "thalweg.parallel.launch:train",
}

__all__ = ["METHODS", *_PUBLIC]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'thalweg.parallel' has no attribute {name!r}")
    return resolve(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
