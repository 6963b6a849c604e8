"""What is the curvature of each layer alone? Diagonal blocks as operators of their own."""

from __future__ import annotations

from dataclasses import replace

from thalweg.curvature.layout import Layout
from thalweg.curvature.matrix import CurvatureOperator


def layer_blocks(op: CurvatureOperator) -> dict[str, CurvatureOperator]:
    """The diagonal block of every layer that owns weights.

    Each is built from that layer's weights alone, so a product costs less than one of the whole.

    >>> import torch
    >>> from thalweg.curvature import hessian
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    >>> x, y = torch.ones(4, 2), torch.ones(4, 1)
    >>> blocks = layer_blocks(hessian(net, torch.nn.functional.mse_loss, (x, y)))
    >>> {name: block.shape for name, block in blocks.items()}
    {'0': (9, 9), '1': (4, 4)}

    Args:
        op: A Hessian, Gauss-Newton or Fisher matrix.

    Returns:
        By the names of ``op.layout.layers``.

    Raises:
        TypeError: Not an operator of this family.
    """
    if not isinstance(op, CurvatureOperator):
        raise TypeError(
            f"layer_blocks needs hessian(), ggn() or fisher(), got {type(op).__name__}."
        )
    problem, layout = op.problem, op.layout
    places = layout.slices
    found = {}
    for layer, whole in layout.layers.items():
        chosen = [
            i
            for i, name in enumerate(layout.names)
            if whole.start <= places[name].start and places[name].stop <= whole.stop
        ]
        part = replace(
            problem,
            layout=Layout(
                tuple(layout.names[i] for i in chosen), tuple(layout.shapes[i] for i in chosen)
            ),
            theta=tuple(problem.theta[i] for i in chosen),
            _padded=None,
        )
        found[layer] = op.of(part)
    return found
