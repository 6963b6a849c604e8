"""Weights that get no gradient."""

from __future__ import annotations

from thalweg.diagnose.observation import Observation
from thalweg.diagnose.suspect import Suspicion, step

_ATTACHED = (step("attached", "calls of detach() in the model left out"),)


def frozen_parameters(seen: Observation) -> Suspicion | None:
    """Weights without a gradient."""
    pass_ = seen.anatomy
    model = seen.bench.risk.model(seen.bench.seed)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    whole = max(1, sum(sizes.values()))
    if pass_.detached:
        return Suspicion(
            "frozen-parameters",
            "The loss does not depend on any weight",
            "The loss has no graph: no weight gets a gradient (detach(), no_grad(), argmax, or "
            "a conversion to numpy on the way).",
            "Compute the loss from the model's output by differentiable operations.",
            ((step("trainable", "all weights trainable"),),) if pass_.frozen else (_ATTACHED,),
            plain=True, severity="error", measured=1.0, threshold=0.0, where="whole model",
            derivation="Descent needs a gradient.",
        )  # fmt: skip
    if pass_.gradient_norm == 0.0:
        return Suspicion(
            "frozen-parameters",
            "The gradient is exactly zero",
            f"No weight gets a gradient other than 0 from the first batch (loss {pass_.loss:.4g}): "
            "nothing can be learnt from it.",
            "Look for a loss that is constant, rounding or comparing on the way, or units that "
            "are all at their ends.",
            plain=True, severity="error", measured=0.0, threshold=0.0, where="whole model",
            derivation="Descent needs a gradient.",
        )  # fmt: skip
    used = {leaf.name for leaf in pass_.leaves}
    cut = [name for name in pass_.unreached if name.rpartition(".")[0] in used]
    if cut and sum(sizes[name] for name in cut) >= 0.01 * whole:
        share = sum(sizes[name] for name in cut) / whole
        return Suspicion(
            "frozen-parameters",
            "Some layers get no gradient",
            f"{', '.join(cut[:4])}{' …' if len(cut) > 4 else ''} take part in the forward pass but "
            f"get no gradient: {share:.0%} of all weights stay as they were drawn.",
            "Look for detach(), no_grad() or .data between these layers and the loss.",
            (_ATTACHED,),
            plain=True, severity="error", measured=share, threshold=0.0, where=cut[0],
            derivation="A layer that is used and trainable must get a gradient.",
        )  # fmt: skip
    if pass_.frozen:
        share = sum(sizes.get(name, 0) for name in pass_.frozen) / whole
        return Suspicion(
            "frozen-parameters",
            "Frozen weights limit the fit",
            f"{len(pass_.frozen)} weight tensors ({share:.0%} of all weights) have "
            "requires_grad=False.",
            "Train them as well (after the new layers have settled, if they are pretrained).",
            ((step("trainable", "all weights trainable"),),),
            measured=share, threshold=0.0, where=pass_.frozen[0],
            derivation="Whether freezing limits is decided by the trial.",
        )  # fmt: skip
    return None
