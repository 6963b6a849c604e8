"""A worker: an ordinary torch optimiser that meets the others every ``tau`` steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg.parallel.centers.base import Center, Hyper, NonFinite
from thalweg.parallel.centers.state import Part


@dataclass(slots=True)
class Traffic:
    """What was exchanged so far (f7 of the lectures' accounting)."""

    exchanges: int = 0
    bytes: int = 0
    refused: int = 0  # exchanges at which the worker's weights were not finite
    failed: int = 0  # exchanges that raised: the worker went on alone


class ElasticAveraging:
    r"""Wraps an optimiser so that its weights are tied by springs to a shared centre.

    Every ``tau`` steps, atomically, :math:`d = \alpha (x - \tilde x)`, :math:`x \leftarrow x - d`,
    :math:`\tilde x \leftarrow \tilde x + d`; the gradient at hand was taken before that move. With
    an SGD that has Nesterov momentum this is EAMSGD: torch keeps the lookahead point
    :math:`x + \delta v`, and the springs pull at :math:`x` itself. Use it as the optimiser it
    wraps; evaluate the *centre* (``center.read()``).

    A failed exchange is never fatal: the worker goes on alone, and one whose weights are NaN is put
    back to the centre.

    Args:
        optimizer: Any torch optimiser over the worker's parameters.
        center: A :class:`~thalweg.parallel.centers.base.Center` over the same number of weights.
        tau: Steps between exchanges, at least 1; 10 is usual, up to 64 was studied.
        alpha: Elastic rate :math:`\eta\rho`, in (0, 1]; 0.9 over the number of workers is usual.
        worker: This worker's number, from 0.
        start: Begin at the centre (all workers start from one point).

    Raises:
        ValueError: A value out of range or a centre of another size.

    >>> from thalweg.parallel import MemoryCenter
    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> center = MemoryCenter(torch.tensor([1.0, 1.0]))
    >>> worker = ElasticAveraging(torch.optim.SGD([w], lr=0.1), center, tau=1, alpha=0.5)
    >>> w.grad = torch.ones(2)
    >>> worker.step()
    >>> w.data, center.read()
    (tensor([0.9000, 0.9000]), tensor([1., 1.]))

    References:
        Zhang, Choromanska and LeCun, "Deep learning with elastic averaging SGD", NeurIPS 2015.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        center: Center,
        tau: int = 10,
        alpha: float = 0.225,
        worker: int = 0,
        start: bool = True,
    ) -> None:
        if isinstance(tau, bool) or not isinstance(tau, int) or tau < 1:
            raise ValueError(f"tau must be a whole number of at least 1, got {tau!r}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {alpha!r}")
        self.optimizer, self.center = optimizer, center
        self.tau, self.alpha, self.worker = tau, alpha, worker
        self.clock, self.traffic = 0, Traffic()
        self.params = [p for group in optimizer.param_groups for p in group["params"]]
        centre = center.read()
        if centre.numel() != sum(p.numel() for p in self.params):
            raise ValueError(
                f"the centre has {centre.numel()} weights, the optimiser "
                f"{sum(p.numel() for p in self.params)}"
            )
        if start:
            self.put(centre)

    def __getattr__(self, name: str) -> Any:
        return getattr(
            self.optimizer, name
        )  # zero_grad, param_groups, state … are the wrapped one's

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Exchange if it is time, then step with the gradient that is at hand."""
        loss = _evaluated(closure)
        if self.clock % self.tau == 0:
            self._meet()
        self.clock += 1
        self.optimizer.step()
        return loss

    def _meet(self) -> None:
        if (parts := self._in_place()) is not None:
            self._meet_in_place(parts)
            return
        x = self._body()
        try:
            pull = self.center.elastic(x.to("cpu"), self.alpha, self.worker)
        except NonFinite:
            self.traffic.refused += 1
            self._rejoin()
            return
        except (OSError, RuntimeError, EOFError, TimeoutError):
            self.traffic.failed += 1
            return
        self._count(x.numel(), x.element_size())
        self.put(self.flat() - pull.to(x.device))

    def _in_place(self) -> list[Part] | None:
        """The weights as vectors, where they and the centre lie in this process's memory."""
        dtype = getattr(self.center, "dtype", None)
        if not hasattr(self.center, "meet") or not all(
            p.device.type == "cpu" and p.dtype == dtype and p.is_contiguous() for p in self.params
        ):
            return None
        parts: list[Part] = []
        for group in self.optimizer.param_groups:
            ahead = group.get("momentum", 0.0) if group.get("nesterov") else 0.0
            for p in group["params"]:
                buffer = self.optimizer.state.get(p, {}).get("momentum_buffer") if ahead else None
                buffer = None if buffer is None else buffer.reshape(-1)
                parts.append((p.detach().view(-1), buffer, ahead * float(group["lr"])))
        return parts

    def _meet_in_place(self, parts: list[Part]) -> None:
        try:
            self.center.meet(parts, self.alpha)  # pyrefly: ignore
        except NonFinite:
            self.traffic.refused += 1
            self._rejoin()
        except (OSError, RuntimeError):
            self.traffic.failed += 1
        else:
            self._count(sum(x.numel() for x, _, _ in parts), parts[0][0].element_size())

    def finish(self) -> None:
        """Called once after the last step; nothing is left to send here."""

    def _body(self) -> Tensor:
        """The point on the spring: the weights, less the lookahead of Nesterov's momentum."""
        parts = []
        for group in self.optimizer.param_groups:
            ahead = group.get("momentum", 0.0) if group.get("nesterov") else 0.0
            for p in group["params"]:
                buffer = self.optimizer.state.get(p, {}).get("momentum_buffer")
                body = p.detach()
                if ahead and buffer is not None:
                    body = torch.add(body, buffer, alpha=ahead * float(group["lr"]))
                parts.append(body.reshape(-1))
        return torch.cat(parts)

    def _rejoin(self) -> None:
        """Start again from the centre, at rest."""
        try:
            self.put(self.center.read())
        except (OSError, RuntimeError, EOFError, TimeoutError):
            self.traffic.failed += 1
            return
        for p in self.params:
            for value in self.optimizer.state.get(p, {}).values():
                if isinstance(value, Tensor) and value.shape == p.shape:
                    value.zero_()

    def _count(self, numbers: int, size: int) -> None:
        self.traffic.exchanges += 1
        self.traffic.bytes += 2 * numbers * size  # one vector there, one back

    def flat(self) -> Tensor:
        """The worker's weights as one vector."""
        return torch.cat([p.detach().reshape(-1) for p in self.params])

    @torch.no_grad()
    def put(self, flat: Tensor) -> None:
        """Set the worker's weights."""
        parts = flat.split([p.numel() for p in self.params])
        for p, part in zip(self.params, parts, strict=True):
            p.copy_(part.view_as(p))


class EASGD(ElasticAveraging):
    """Elastic averaging over plain SGD."""

    momentum: ClassVar[float] = 0.0


class EAMSGD(ElasticAveraging):
    """Elastic averaging over SGD with Nesterov momentum (0.99 in the paper)."""

    momentum: ClassVar[float] = 0.99


class Downpour(ElasticAveraging):
    r"""Workers send what they did, and take the centre in return.

    Every ``tau`` steps :math:`\tilde x \leftarrow \tilde x + u`, :math:`x \leftarrow \tilde x`,
    where u is the sum of steps since. Sums grow stale as ``tau`` and the number of workers grow,
    and then it diverges. Pushes carry a sequence number, so that one sent twice counts once.
    """

    momentum: ClassVar[float] = 0.0

    def __init__(self, *arguments: Any, sequence: int = 0, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sequence = sequence
        self._since = self.flat()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step, then push if it is time."""
        loss = _evaluated(closure)
        self.optimizer.step()
        self.clock += 1
        if self.clock % self.tau == 0:
            self._meet()
        return loss

    def finish(self) -> None:
        """Send what was done since the last exchange."""
        if self.clock % self.tau:
            self._meet()

    def _meet(self) -> None:
        x = self.flat()
        try:
            centre = self.center.push((x - self._since).to("cpu"), self.worker, self.sequence)
        except NonFinite:
            self.traffic.refused += 1
            self._rejoin()
            self._since = self.flat()
            return
        except (OSError, RuntimeError, EOFError, TimeoutError):
            self.traffic.failed += 1  # the sum goes on growing and is sent the next time
            return
        self.sequence += 1
        self._count(x.numel(), x.element_size())
        self.put(centre.to(x.device))
        self._since = self.flat()


class MomentumDownpour(ElasticAveraging):
    """Workers send gradients at every step; the master has Nesterov's momentum.

    The wrapped optimiser gives rate and momentum only and takes no step of its own.
    """

    momentum: ClassVar[float] = 0.9

    def __init__(self, *arguments: Any, sequence: int = 0, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.tau != 1:
            raise ValueError(f"mdownpour sends every gradient: tau must be 1, got {self.tau}")
        self.sequence = sequence

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Send the gradient, take the centre."""
        loss = _evaluated(closure)
        group = self.optimizer.param_groups[0]
        hyper = Hyper(float(group["lr"]), float(group.get("momentum", 0.0)))
        parts = []
        for p in self.params:
            g = torch.zeros_like(p) if p.grad is None else p.grad.detach()
            parts.append((g + group.get("weight_decay", 0.0) * p.detach()).reshape(-1))
        g = torch.cat(parts)
        self.clock += 1
        try:
            centre = self.center.push(g.to("cpu"), self.worker, self.sequence, hyper)
        except NonFinite:
            self.traffic.refused += 1
            self._rejoin()
            return loss
        except (OSError, RuntimeError, EOFError, TimeoutError):
            self.traffic.failed += 1
            return loss
        self.sequence += 1
        self._count(g.numel(), g.element_size())
        self.put(centre.to(g.device))
        return loss


def _evaluated(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def default_alpha(workers: int, beta: float = 0.9) -> float:
    """The paper's elastic rate: beta over the number of workers."""
    if workers < 1 or not (math.isfinite(beta) and beta > 0):
        raise ValueError(f"wanted a worker and beta > 0, got {workers}, {beta!r}")
    return min(1.0, beta / workers)
