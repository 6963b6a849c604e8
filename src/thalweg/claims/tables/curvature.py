"""Curvature, saddles, depth and spectra."""

from __future__ import annotations

from thalweg.registry import Member

CURVATURE = (
    Member(
        "ill-conditioning-monitor",
        "thalweg.claims.curvature:ill_conditioning_monitor",
        "When a gradient step raises the loss",
        "curvature#k3",
    ),
    Member(
        "gradient-norm-rises",
        "thalweg.claims.curvature:gradient_norm_rises",
        "The gradient can grow while the error falls",
        "curvature#k4",
    ),
    Member(
        "saddle-escape",
        "thalweg.claims.curvature:saddle_escape",
        "How a saddle is left",
        "curvature#k5",
    ),
    Member(
        "saddle-counts",
        "thalweg.claims.saddles:saddle_counts",
        "Random critical points are saddles",
        "curvature#k6",
    ),
    Member(
        "saddles-lie-high",
        "thalweg.claims.saddles:saddles_lie_high",
        "Low critical points are minima, high ones maxima",
        "curvature#k6",
    ),
    Member(
        "linear-autoencoder",
        "thalweg.claims.saddles:linear_autoencoder",
        "A linear autoencoder has saddles but no bad minima",
        "curvature#k6",
    ),
    Member(
        "one-one-one",
        "thalweg.claims.hyperbola:one_one_one",
        "The 1-1-1 network: a hyperbola of minima and a saddle",
        "curvature#k7",
    ),
    Member(
        "vanishing-gradients",
        "thalweg.claims.depth:vanishing_gradients",
        "Gradients vanish exponentially with depth",
        "curvature#k10",
    ),
    Member(
        "activation-slopes",
        "thalweg.claims.depth:activation_slopes",
        "How steep activations are",
        "curvature#k10",
    ),
    Member(
        "weight-symmetry",
        "thalweg.claims.weight_paths:weight_symmetry",
        "Many weights, one function",
        "curvature#k8",
    ),
    Member(
        "path-sums",
        "thalweg.claims.weight_paths:path_sums",
        "A ReLU network is a sum over paths",
        "curvature#k9",
    ),
    Member(
        "hessian-spectrum-reduced",
        "thalweg.claims.spectrum:hessian_spectrum_reduced",
        "Most curvatures of a trained network are zero (small)",
        "curvature#k2",
    ),
    Member(
        "hessian-spectrum",
        "thalweg.claims.spectrum:hessian_spectrum",
        "Most curvatures of a trained network are zero",
        "curvature#k2",
    ),
    Member(
        "hessian-spectrum-at-the-end",
        "thalweg.claims.spectrum:hessian_spectrum_at_the_end",
        "Most curvatures are zero, at the end of the released script",
        "curvature#k2",
    ),
    Member(
        "mnistfc-width",
        "thalweg.claims.spectrum:mnistfc_width",
        "The fully connected network has 64 hidden units",
        "curvature#k2",
    ),
)
