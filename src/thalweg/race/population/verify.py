"""Does an engine do what the looped one does? Losses, gradients, buffers and scores compared.

An engine that is wrong is wrong at once: on the first batch, if user code mixes samples, draws
random numbers of its own, or keeps state that the engine does not see.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.race.population.batched import one_seed
from thalweg.race.population.flock import Flock, gradient_names
from thalweg.race.population.looped import reseed
from thalweg.race.population.make import ATTACH
from thalweg.race.space import Member
from thalweg.risk import Risk
from thalweg.risk.order import stream

STEPS = 2  # the second sees weights that differ from member to member
MEMBERS = 3  # compared: both ends and some between
SCORED = 64  # held-out samples of each
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
SPREAD = 0.05  # relative size of the noise that makes members differ


class Mismatch(Exception):
    """An engine gave other numbers than the looped one; says which."""


def verify(name: str, risk: Risk, stochastic: bool, members: Sequence[Member], total: int) -> None:
    """Compare engine ``name`` with plain torch on the first batches of ``members``.

    Weights are set apart from member to member by a little noise, so that a member that reads
    another's weights is found out.

    Raises:
        Mismatch: Numbers differ.
        Unsupported: The engine refuses the model.
    """
    with risk.full_precision():  # autocast rounds too coarsely to prove anything
        _verify(name, risk, stochastic, members, total)


def _verify(name: str, risk: Risk, stochastic: bool, members: Sequence[Member], total: int) -> None:
    few = _few(members, one_seed(risk, stochastic, members[0].configuration.batch_size))
    size = few[0].configuration.batch_size
    names = gradient_names(risk, size, few[0].seed)
    flock = Flock(risk, few, range(len(few)), total, names)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(flock.w.shape, generator=generator).to(flock.w) * SPREAD
    flock.w.mul_(1 + noise)
    gradients = ATTACH[name](flock, stochastic)
    twins = [copy.deepcopy(flock.module(row)) for row in range(len(flock))]
    for step in range(min(STEPS, total)):
        losses = gradients.losses(step)
        _same(f"{name}: losses at step {step}", losses, _plain(flock, twins, step, stochastic))
        for row, twin in enumerate(twins):
            _compare_member(name, flock, row, twin, step)
    _compare_outputs(name, risk, flock, gradients, twins)


def _few(members: Sequence[Member], alone: bool) -> list[Member]:
    """Both ends and members between; of several seeds unless seeds are trained ``alone``."""
    if alone:
        members = [m for m in members if m.seed == members[0].seed]
    by_seed = list({m.seed: m for m in members}.values())
    chosen = dict.fromkeys([members[0], *by_seed[1:2], *members[1:], members[-1]])
    return list(chosen)[:MEMBERS]


def _plain(flock: Flock, twins: Sequence[nn.Module], step: int, stochastic: bool) -> Tensor:
    risk, losses = flock.risk, []
    batches = flock.batches(step)
    for member, seed, twin in zip(flock.members, flock.seed_of, twins, strict=True):
        twin.zero_grad(set_to_none=True)
        if stochastic:
            reseed(risk.device, stream(member.seed, "step", step))
        loss = risk.loss(twin.train(), batches[seed])
        loss.backward()
        losses.append(loss.detach().reshape(()))
    return torch.stack(losses)


def _compare_member(name: str, flock: Flock, row: int, twin: nn.Module, step: int) -> None:
    every = [p.grad for p in twin.parameters() if p.grad is not None]
    largest = max((float(g.abs().max()) for g in every if g.numel()), default=0.0)
    for key, parameter in twin.named_parameters():
        mine = flock.gradients[key][row] if key in flock.gradients else None
        if mine is None:
            if parameter.grad is not None and parameter.requires_grad:
                raise Mismatch(f"{name}: '{key}' received a gradient only at step {step}")
            continue
        if parameter.grad is None:
            raise Mismatch(f"{name}: '{key}' received no gradient at step {step}")
        # some gradients vanish but for rounding (a bias before batch norm): judge them by the rest
        floor = 1e-2 * largest if math.isfinite(largest) else 0.0
        _same(f"{name}: gradient of '{key}' at step {step}", mine, parameter.grad, floor)
    for key, buffer in twin.named_buffers():
        _same(f"{name}: buffer '{key}' after step {step}", flock.buffers[key][row], buffer)


def _compare_outputs(
    name: str, risk: Risk, flock: Flock, gradients: Any, twins: Sequence[nn.Module]
) -> None:
    """Evaluation mode: held-out scores by stacked outputs against each member's own module."""
    if risk.task.forward != "pair":
        return
    from thalweg.race.population.outputs import Outputs

    outputs = Outputs(gradients.outputs, range(len(flock)))
    for row, twin in enumerate(twins):
        found = outputs.score(risk, row, "selection", SCORED)
        if found is None:
            return
        wanted = risk.score(twin, "selection", SCORED)
        kind = flock.w.dtype
        mine = torch.tensor(found.loss, dtype=kind)
        _same(f"{name}: held-out loss", mine, torch.tensor(wanted.loss, dtype=kind))
        if risk.metric == "accuracy":  # a rounding may turn a close call
            if abs(found.mean - wanted.mean) > 2.5 / max(1, len(wanted.values)):
                raise Mismatch(f"{name}: held-out accuracy {found.mean} for {wanted.mean}")
        else:
            _same(f"{name}: held-out values", found.values.to(kind), wanted.values.to(kind))


def _same(what: str, found: Tensor, wanted: Tensor, floor: float = 1e-6) -> None:
    if not found.is_floating_point():
        if not torch.equal(found, wanted):
            raise Mismatch(f"{what} differ from the looped engine's")
        return
    finite = torch.isfinite(wanted)
    if not torch.equal(finite, torch.isfinite(found)):
        raise Mismatch(f"{what} are not finite where the looped engine's are, or the reverse")
    found, wanted = torch.where(finite, found, 0.0), torch.where(finite, wanted, 0.0)
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    gap = float((found - wanted).abs().max()) if wanted.numel() else 0.0
    allowed = TOLERANCES.get(wanted.dtype, 1e-2)
    if gap > allowed * max(scale, floor):
        share = gap / max(scale, 1e-30)
        raise Mismatch(f"{what} differ by {share:.1e} of the looped engine's largest")
