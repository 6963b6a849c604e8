"""Is this network a chain of layers? Cut it where layers with weights begin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
)


def chain(model: nn.Module, x: Tensor) -> list[nn.Sequential]:
    """The blocks of a network whose modules, run one after another, are the network.

    A block begins with a layer that has weights; activations, poolings and normalisations belong
    to the layer before them. Blocks share their modules with the model.

    Args:
        model: Any module; it is checked on ``x`` in evaluation mode that the chain computes it.
        x: A batch of inputs.

    Raises:
        ValueError: It is no chain (a branch, a skip, a tensor reshaped between modules).
    """
    leaves = [m for m in model.modules() if next(m.children(), None) is None and m is not model]
    blocks: list[list[nn.Module]] = []
    for leaf in leaves:
        weighted = any(True for _ in leaf.parameters()) and not isinstance(leaf, _NORMS)
        if not blocks or (weighted and _has_weights(blocks[-1])):
            blocks.append([])
        blocks[-1].append(leaf)
    if blocks and isinstance(blocks[0][0], nn.Linear) and x.ndim > 2:
        blocks[0].insert(0, nn.Flatten())
    made = [nn.Sequential(*block) for block in blocks]
    if not made or not _same(model, made, x):
        raise ValueError(
            f"{type(model).__name__} is no plain chain of its {len(leaves)} modules (it branches, "
            "skips or reshapes between them): write it as an nn.Sequential, Flatten included."
        )
    return made


def _has_weights(block: list[nn.Module]) -> bool:
    return any(any(True for _ in m.parameters()) for m in block if not isinstance(m, _NORMS))


def _same(model: nn.Module, blocks: list[nn.Sequential], x: Tensor) -> bool:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            z = x
            for block in blocks:
                z = block(z)
            out = model(x)
        return isinstance(out, Tensor) and z.shape == out.shape and torch.allclose(z, out)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    finally:
        for module, mode in modes:
            module.training = mode


class Frozen(nn.Sequential):
    """Blocks that never train: no gradients, evaluation mode for ever (batch statistics too)."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__(*blocks)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Frozen:
        """Stays in evaluation mode, whatever is asked."""
        super().train(False)
        return self
