"""Faults of how a model answers: samples mixed, units dropped when evaluated, a mere line."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from thalweg.diagnose.observation import Observation, first_batch
from thalweg.diagnose.suspect import Suspicion, step
from thalweg.risk import tree

APART = 1e-3  # of the answers' size; rounding stays below 1e-5 in float32
FEW = 8
STRONG = 0.5  # share of units dropped


class _Dropouts(TorchFunctionMode):
    """Counts dropout that is on."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            share = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            on = kwargs.get("training", args[2] if len(args) > 2 else True)
            self.count += bool(on) and share > 0
        return func(*args, **kwargs)


def _answer(seen: Observation, model: nn.Module, batch: Any) -> Tensor | None:
    """The first tensor a model answers when evaluated, one row a sample; None where it cannot."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(7)
            found = next(iter(tree.tensors(seen.bench.risk.forward(model, batch))), None)
    except Exception:  # a model that refuses batches of this size
        return None
    if found is None or not found.is_floating_point() or found.dim() == 0:
        return None
    same = len(found) == tree.count(batch)
    return found.double() if same and bool(torch.isfinite(found).all()) else None


def _few(seen: Observation) -> tuple[nn.Module, Any] | None:
    if seen.bench.risk.task.forward != "pair":
        return None
    model = copy.deepcopy(seen.bench.risk.model(seen.bench.seed)).eval()
    batch = first_batch(seen.bench)
    if tree.count(batch) < 4:
        return None
    return model, tree.tree_map(lambda t: t[:FEW], batch)


def mixed_samples(seen: Observation) -> Suspicion | None:
    """An answer that changes with the other samples of the batch, even when evaluated."""
    found = _few(seen)
    if found is None:
        return None
    model, batch = found
    whole, again = _answer(seen, model, batch), _answer(seen, model, batch)
    with _Dropouts() as dropouts:
        half = _answer(seen, model, tree.tree_map(lambda t: t[tree.count(batch) // 2 :], batch))
    if whole is None or half is None or again is None or not torch.equal(whole, again):
        return None
    part = whole[-len(half) :]
    size = float(whole.square().mean().sqrt())
    gap = float((part - half).abs().max()) / max(size, 1e-12) if part.shape == half.shape else 0.0
    coarse = any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters())
    threshold = 0.1 if coarse else APART
    if dropouts.count or not gap > threshold:
        return None
    cures = []
    sequences = (nn.RNNBase, nn.MultiheadAttention)
    if any(isinstance(m, sequences) and not m.batch_first for m in model.modules()):
        cures.append((step("batch_first", "recurrent and attention layers read batches first"),))
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        cures.append((step("group_norm", "group normalisation"),))
    if seen.anatomy.last == "softmax":
        cures.append((step("without_output_activation", "the last softmax left out"),))
    return Suspicion(
        "mixed-samples",
        "A sample's answer depends on the rest of its batch",
        f"In evaluation mode the same samples are answered differently in a batch of {FEW} and in "
        f"one of half that: the difference is {gap:.2g} of the answers' size.",
        "Look for a softmax over axis 0, a recurrent layer without batch_first, a reshape that "
        "runs samples together, or batch normalisation without stored statistics.",
        tuple(cures),
        plain=True,
        severity="warning",
        measured=gap,
        threshold=threshold,
        derivation="Rounding in another order changes a float32 answer by less than 1e-5 of its "
        "size; a hundred times that is another function.",
        where="model",
    )


def dropout_stays(seen: Observation) -> Suspicion | None:
    """Dropout that does not ask whether the model is being trained."""
    found = _few(seen)
    if found is None:
        return None
    with _Dropouts() as dropouts:
        _answer(seen, *found)
    if not dropouts.count:
        return None
    return Suspicion(
        "dropout-misuse",
        "Dropout stays on when the model is evaluated",
        f"{dropouts.count} calls of dropout drop units in evaluation mode: held-out answers are "
        "drawn at random.",
        "Use nn.Dropout, or F.dropout(x, p, training=self.training).",
        ((step("dropout_in_training_only", "dropout asks for the model's mode"),),),
        plain=True,
        measured=float(dropouts.count),
        threshold=0.0,
        derivation="F.dropout drops by default, whatever the mode of the model.",
        where="model",
    )


def over_regularised(seen: Observation) -> Suspicion | None:
    """Decay or dropout so strong that what was learnt is lost again."""
    if not seen.walks or seen.skill >= 0.95:
        return None
    recipe = seen.recipe
    momentum = recipe.momentum if recipe.optimizer in ("momentum", "nesterov") else 0.0
    lost = recipe.lr * recipe.weight_decay / (1 - min(momentum, 0.999)) * seen.evaluations
    model = seen.bench.risk.model(seen.bench.seed)
    drops = [m.p for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    worst = max(drops, default=0.0)
    decays = lost > 1 or recipe.weight_decay >= 0.01
    if not (decays or worst > STRONG):
        return None
    cures = []
    if worst > STRONG:
        cures.append((step("without_dropout", "no dropout"),))
    if decays:
        cures.append((step("recipe", "no weight decay", weight_decay=0.0),))
    said = f"Dropout leaves out {worst:.0%} of the units." if worst > STRONG else (
        f"Weight decay {recipe.weight_decay:g} alone would shrink weights by a factor "
        f"exp({min(lost, 700):.2g}) over the run."
    )  # fmt: skip
    return Suspicion(
        "over-regularised",
        "Decay or dropout is too strong",
        said,
        "Take less of it; compare training with held-out loss.",
        tuple(cures),
        measured=worst if worst > STRONG else lost,
        threshold=STRONG if worst > STRONG else 1.0,
        derivation="Weights that shrink by e over a run, or layers that lose more than half of "
        "their units a step, forget as fast as they learn. Whether that limits is decided by the "
        "trial.",
        where="recipe" if decays else "model",
        aside=worst <= STRONG and lost < 10,
        evidence={"training loss": seen.walks[0].train[-1]} if seen.walks[0].train else {},
    )  # fmt: skip


def linear_model(seen: Observation) -> Suspicion | None:
    """Several layers that together are one linear map."""
    found = _few(seen)
    layers = [leaf for leaf in seen.anatomy.leaves if leaf.fan_in > 1 and leaf.kind != "Embedding"]
    hidden = [a for a in seen.anatomy.activations if a.where != seen.anatomy.last_where]
    if found is None or len(layers) < 2 or (hidden and seen.anatomy.last != "softmax"):
        return None
    model, batch = found
    inputs = list(tree.tensors(batch[0]))
    if not all(t.is_floating_point() for t in inputs):
        return None
    middle = (tree.tree_map(lambda t: (t + t.roll(1, 0)) / 2, batch[0]), batch[1])
    ends, centre = _answer(seen, model, batch), _answer(seen, model, middle)
    if ends is None or centre is None or ends.shape != centre.shape:
        return None
    if seen.anatomy.last == "softmax":
        ends, centre = (a.clamp(min=1e-30).log() for a in (ends, centre))
        ends, centre = (a - a.mean(-1, keepdim=True) for a in (ends, centre))
    size = float((ends - ends.mean(0)).square().mean().sqrt())
    gap = float((centre - (ends + ends.roll(1, 0)) / 2).abs().max())
    if not size > 0 or not gap < 1e-4 * size or not math.isfinite(gap):
        return None
    return Suspicion(
        "linear-model",
        "The layers are one linear map",
        f"{len(layers)} layers with weights, and the answer halfway between two inputs is halfway "
        "between the answers: without an activation between them they can do no more than one.",
        "Put a ReLU between the layers.",
        ((step("activations", "ReLU after every layer but the last"),),),
        measured=gap / size,
        threshold=1e-4,
        derivation="A composition of linear maps is linear; rounding stays below 1e-4 of the "
        "answers' deviation. Whether it limits is decided by the trial.",
        where="model",
    )
