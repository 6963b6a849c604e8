"""Synchronous elastic averaging under ``torchrun``: every rank holds a copy of the centre."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


@torch.no_grad()
def synchronous_step(
    params: list[Tensor], centre: Tensor, alpha: float, group: dist.ProcessGroup | None = None
) -> None:
    r"""One exchange of all ranks, in place.

    :math:`d = \alpha(x - \tilde x)`, :math:`x \leftarrow x - d`,
    :math:`\tilde x \leftarrow \tilde x + \sum_{ranks} d`. All ranks add the same sum to the same
    centre, so that the copies stay equal bit for bit.

    Args:
        params: This rank's parameters.
        centre: This rank's copy of the centre, ``(n,)``; equal on all ranks.
        alpha: Elastic rate, at most 1 over the number of ranks for a stable mean.
        group: Of ranks; None for all.

    Raises:
        ValueError: The centre is of another size.
        RuntimeError: ``torch.distributed`` is not initialised (start with ``torchrun``).
    """
    if not dist.is_initialized():
        raise RuntimeError(
            "torch.distributed is not initialised: start with torchrun and call "
            "dist.init_process_group() first"
        )
    x = torch.cat([p.detach().reshape(-1) for p in params])
    if x.numel() != centre.numel():
        raise ValueError(f"the centre has {centre.numel()} weights, the parameters {x.numel()}")
    pull = alpha * (x - centre)
    moved = x - pull
    dist.all_reduce(pull, group=group)
    centre.add_(pull)
    for p, part in zip(params, moved.split([p.numel() for p in params]), strict=True):
        p.copy_(part.view_as(p))
