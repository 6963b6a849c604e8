"""The lectures' LeNet: its shapes, what it costs, what it reaches on MNIST."""

from __future__ import annotations

import torch

from thalweg.claims.base import Outcome, Setting, Target, claim
from thalweg.mechanics.cost import layer_costs
from thalweg.models.lenet import LeNetD1
from thalweg.records_claims import Chart, Curve


@claim(
    name="lenet-shape",
    title="The lectures' LeNet: shapes and 21,328 parameters",
    decks=("D1",),
    section="architectures#a7",
    says="28, 14, 10 and 5 places along an axis, 150 features, 128 units, ten classes.",
    targets=(
        Target("parameters", 21_328.0, source="[C]"),
        Target("layers whose shape differs from the slide's", 0.0, source="[D]"),
    ),
    seconds=1,
)
def lenet_shape(setting: Setting) -> Outcome:
    """A trace of zeros through the network."""
    x, shapes, model = torch.zeros(1, 1, 32, 32), [], LeNetD1().eval()
    for layer in [*model.features, *model.classifier]:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    slide = [(4, 28, 28)] * 2 + [(4, 14, 14)] + [(6, 10, 10)] * 2 + [(6, 5, 5)]
    slide += [(150,)] * 2 + [(128,)] * 2 + [(10,)]
    return Outcome(
        {
            "parameters": sum(p.numel() for p in model.parameters()),
            "layers whose shape differs from the slide's": sum(
                a != b for a, b in zip(shapes, slide, strict=True)
            ),
        }
    )


@claim(
    name="lenet-cost",
    title="The lectures' LeNet takes 158,880 multiply-adds",
    decks=("D1",),
    section="architectures#a8",
    says="Places x window x maps in x maps out: about equal costs for both convolutions.",
    targets=(
        Target("multiply-adds by the formula", 158_880.0, source="[C]"),
        Target("multiply-adds by torch's counter", 158_880.0, source="[C]"),
        Target("of the first convolution", 78_400.0, source="[C]"),
        Target("of the second convolution", 60_000.0, source="[C]"),
    ),
    seconds=1,
)
def lenet_cost(setting: Setting) -> Outcome:
    """The closed forms beside half of torch's count of flops."""
    cost = layer_costs(LeNetD1(), (1, 32, 32))
    lines = [line for line in cost.layers if line.macs]
    place = tuple(float(i) for i in range(1, len(lines) + 1))
    return Outcome(
        {
            "multiply-adds by the formula": cost.macs,
            "multiply-adds by torch's counter": cost.counted,
            "of the first convolution": lines[0].macs,
            "of the second convolution": lines[1].macs,
        },
        charts=(
            Chart(
                "Where the multiply-adds go",
                "layer with weights",
                "multiply-adds",
                (Curve("LeNet", place, tuple(float(line.macs) for line in lines), "bars"),),
            ),
        ),
    )


@claim(
    name="lenet-mnist",
    title="The lectures' LeNet on MNIST",
    decks=("D1",),
    section="architectures#a7",
    says="The lectures give no accuracy; the literature's expectation is above 98.5 %.",
    targets=(
        Target("test accuracy", 98.5, 0.0, "at least", "%", "[U]"),
        Target("epochs", relation="reported"),
    ),
    seconds=240,
    needs=("mnist",),
)
def lenet_mnist(setting: Setting) -> Outcome:
    """Ten epochs of SGD with momentum 0.9, rate 0.01, batches of 64, dropout as on the slide."""
    from thalweg.task import load_task
    from thalweg.training import train

    task = load_task("mnist", data=setting.folder("mnist"))
    run = train(task, seed=setting.seed, progress=lambda p: setting.progress(p.message))
    return Outcome(
        {
            "test accuracy": 100 * run.confirmed,
            "epochs": run.evaluations * run.settings["batch_size"] / run.samples["train"],
        },
        charts=(
            Chart(
                "Held-out error",
                "gradients",
                "error in %",
                (
                    Curve(
                        "LeNet",
                        tuple(float(e) for e in run.trace.evaluations),
                        tuple(100 * (1 - h) for h in run.trace.held_out),
                    ),
                ),
                y_log=True,
            ),
        ),
    )
