"""Why does a training stall? Findings with evidence, and a trial of each remedy.

The package is what ``thalweg.diagnose`` names, and it can be called: ``thalweg.diagnose(task)`` is
:func:`thalweg.diagnose.checkup.checkup`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from thalweg.registry import Member, Registry

if TYPE_CHECKING:
    from thalweg.records_diagnosis import Diagnosis

_HERE = "thalweg.diagnose.findings"

# From cause to symptom: where two remedies gain the same, the one that stands first is the cause.
FINDINGS = Registry(
    "finding",
    Member("nonfinite-data", f"{_HERE}.data:nonfinite_data", "NaN or infinite numbers in the data"),
    Member(
        "nondeterministic-loss",
        f"{_HERE}.loss:nondeterministic_loss",
        "the loss differs under equal weights, data and random state",
    ),
    Member(
        "loss-mismatch",
        f"{_HERE}.loss:loss_mismatch",
        "loss and output do not fit: softmax twice, wrong range, broadcast shapes",
    ),
    Member(
        "frozen-parameters", f"{_HERE}.frozen:frozen_parameters", "weights that get no gradient"
    ),
    Member(
        "symmetric-init",
        f"{_HERE}.initial:symmetric_init",
        "units that start equal and stay equal",
        "Rumelhart, Hinton and Williams 1986",
    ),
    Member("input-scale", f"{_HERE}.data:input_scale", "inputs off centre or of unequal scale",
           "LeCun, Bottou, Orr and Müller 1998"),
    Member("mixed-samples", f"{_HERE}.answers:mixed_samples",
           "answers that depend on the other samples of a batch"),
    Member("dropout-misuse", f"{_HERE}.answers:dropout_stays",
           "dropout that stays on when the model is evaluated"),
    Member("linear-model", f"{_HERE}.answers:linear_model",
           "layers without an activation between them"),
    Member("held-out-shift", f"{_HERE}.elsewhere:held_out_shift",
           "held-out data prepared differently from training data"),
    Member("target-scale", f"{_HERE}.data:target_scale", "targets far from unit scale"),
    Member("init-scale", f"{_HERE}.initial:init_scale", "signals grow or shrink through the layers",
           "Glorot and Bengio 2010; He et al. 2015"),
    Member("dead-units", f"{_HERE}.layers:dead_units", "rectified units that are always off"),
    Member("saturated-units", f"{_HERE}.layers:saturated_units", "squashing units at their ends"),
    Member("vanishing-gradient", f"{_HERE}.layers:vanishing_gradient",
           "gradients shrink on the way back", "Hochreiter 1991"),
    Member("exploding-gradient", f"{_HERE}.layers:exploding_gradient",
           "gradients grow on the way back", "Bengio, Simard and Frasconi 1994"),
    Member("norm-misuse", f"{_HERE}.norms:norm_misuse",
           "normalisation that answers differently when evaluated"),
    Member("unshuffled-data", f"{_HERE}.data:unshuffled_data", "batches of one kind after another"),
    Member("imbalanced-targets", f"{_HERE}.data:imbalanced_targets", "rare classes are not learnt"),
    Member("batch-noise", f"{_HERE}.rates:batch_noise", "noise of small batches",
           "McCandlish et al. 2018"),
    Member("label-noise", f"{_HERE}.labels:label_noise", "targets that contradict the inputs"),
    Member("leaked-samples", f"{_HERE}.data:leaked_samples", "held-out samples trained on"),
    Member("lr-too-high", f"{_HERE}.rates:lr_too_high", "steps beyond what the curvature allows"),
    Member("lr-too-low", f"{_HERE}.rates:lr_too_low", "steps far smaller than what is stable"),
    Member("no-decay", f"{_HERE}.rates:no_decay", "hovers at the noise floor of a constant rate"),
    Member("plateau-or-saddle", f"{_HERE}.rates:plateau_or_saddle",
           "no slope where training stands", "Dauphin et al. 2014"),
    Member("ill-conditioned", f"{_HERE}.rates:ill_conditioned",
           "one rate does not fit steep and flat directions"),
    Member("input-correlation", f"{_HERE}.data:input_correlation",
           "inputs that repeat each other make a narrow valley",
           "LeCun, Kanter and Solla 1991"),
    Member("over-regularised", f"{_HERE}.answers:over_regularised",
           "decay or dropout so strong that nothing stays learnt"),
    Member("overfitting", f"{_HERE}.generalise:overfitting", "held-out loss rises while training"),
    Member("too-few-epochs", f"{_HERE}.generalise:too_few_epochs",
           "the recipe ends while the loss still falls"),
    Member("sharp-minimum", f"{_HERE}.generalise:sharp_minimum",
           "ends where the loss is sharply curved", "Keskar et al. 2017"),
    Member("below-reference", f"{_HERE}.elsewhere:below_reference",
           "least squares or nearest neighbours do better"),
)  # fmt: skip


class _Callable(ModuleType):
    """A package that is also the function it is named after."""

    def __call__(self, *arguments: Any, **options: Any) -> Diagnosis:
        """Diagnose a task; see :func:`thalweg.diagnose.checkup.checkup` for the arguments."""
        from thalweg.diagnose.checkup import checkup

        return checkup(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
