"""Pre-training, hints, order of samples, continuation."""

from __future__ import annotations

from thalweg.registry import Member

CURRICULUM = (
    Member(
        "greedy-pretraining",
        "thalweg.claims.curriculum:greedy_pretraining",
        "Layer by layer, a deep sigmoid network learns",
        "curriculum#p1",
    ),
    Member(
        "fitnets",
        "thalweg.claims.curriculum:fitnets",
        "Hints carry a thin deep student further",
        "curriculum#p3",
    ),
    Member(
        "transfer-digits",
        "thalweg.claims.curriculum:transfer_digits",
        "Copied layers bring nothing from one half of the digits to the other",
        "curriculum#p2",
    ),
    Member(
        "curriculum-on-the-way",
        "thalweg.claims.curriculum_order:curriculum_on_the_way",
        "Easy samples first: a perceptron is ahead on the way",
        "curriculum#p5",
    ),
    Member(
        "curriculum-at-the-end",
        "thalweg.claims.curriculum_order:curriculum_at_the_end",
        "Easy samples first: the perceptron's lead does not last",
        "curriculum#p5",
    ),
    Member(
        "curriculum-digits",
        "thalweg.claims.curriculum_order:curriculum_digits",
        "Easy digits first, where a fifth of the labels is wrong",
        "curriculum#p5",
    ),
    Member(
        "stochastic-curriculum",
        "thalweg.claims.curriculum_order:stochastic_curriculum",
        "Mixing difficulties beats growing difficulty beats none",
        "curriculum#p5",
    ),
    Member(
        "smoothed-forms",
        "thalweg.claims.continuation:smoothed_forms",
        "What Gaussian noise makes of a function, in closed form",
        "curriculum#p4",
    ),
    Member(
        "smoothed-saddle",
        "thalweg.claims.continuation:smoothed_saddle",
        "The saddle of the 1-1-1 network vanishes at σ = 1",
        "curriculum#p4",
    ),
    Member(
        "continuation",
        "thalweg.claims.continuation:passes_hills",
        "Smoothing that fades passes the hills at which descent stops",
        "curriculum#p4",
    ),
    Member(
        "majorise-minimise",
        "thalweg.claims.majorisers:majorise_minimise",
        "Minimise a bound, and the objective never rises",
        "curriculum#p6",
    ),
)

ON_MNIST = (
    Member(
        "greedy-mnist",
        "thalweg.claims.curriculum_mnist:greedy_mnist",
        "Layer by layer on MNIST",
        "curriculum#p1",
    ),
    Member(
        "fitnets-mnist",
        "thalweg.claims.curriculum_mnist:fitnets_mnist",
        "Hints on MNIST",
        "curriculum#p3",
    ),
    Member(
        "transfer-mnist",
        "thalweg.claims.curriculum_mnist:transfer_mnist",
        "The lectures' LeNet from 0-4 to 5-9",
        "curriculum#p2",
    ),
)
