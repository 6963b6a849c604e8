"""Which engine trains these members? The plan says; driver and workers read it alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thalweg.race.population.base import Engine
from thalweg.race.population.driven import is_driven
from thalweg.race.population.make import make
from thalweg.race.space import Member
from thalweg.risk import Risk

FEWEST = 4  # members; fewer have too little to share


def build_engine(
    plan: Mapping[str, Any], risk: Risk, members: Sequence[Member], total: int, memory: int
) -> Engine:
    """The engine that the plan chose, for members with one batch size.

    Args:
        plan: What :class:`~thalweg.race.plan.Planner` decided.
        risk: The task on its device.
        members: Training runs with one batch size.
        total: Steps of each run.
        memory: Bytes that live runs may hold together.
    """
    choice = plan["engines"][str(members[0].configuration.batch_size)]
    driven = any(is_driven(member.configuration.optimizer) for member in members)
    name = choice["engine"] if len(members) >= FEWEST and not driven else "looped"
    return make(name, risk, members, total, plan["stochastic"], memory, choice["chunk"])
