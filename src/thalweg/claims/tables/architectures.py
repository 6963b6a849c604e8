"""Units, layers, LeNet, masks."""

from __future__ import annotations

from thalweg.registry import Member

ARCHITECTURES = (
    Member(
        "perceptron-xor",
        "thalweg.claims.architectures:perceptron_xor",
        "One threshold unit learns AND and OR, never XOR",
        "architectures#a1",
    ),
    Member(
        "backprop-deltas",
        "thalweg.claims.architectures:backprop_deltas",
        "Deltas by hand are the gradient",
        "architectures#a2",
    ),
    Member(
        "lagrangian-sign",
        "thalweg.claims.architectures_lagrangian:lagrangian_sign",
        "Which sign makes the multipliers gradients",
        "architectures#a3",
    ),
    Member(
        "lagrangian-index",
        "thalweg.claims.architectures_lagrangian:lagrangian_index",
        "Which layer's Jacobian carries the multiplier back",
        "architectures#a3",
    ),
    Member(
        "softmax-index",
        "thalweg.claims.architectures:softmax_index",
        "The softmax needs an index in its numerator",
        "architectures#a4",
    ),
    Member(
        "maxout-relu",
        "thalweg.claims.architectures:maxout_relu",
        "Maxout with a zero piece is a ReLU layer",
        "curriculum#p7",
    ),
    Member(
        "convolution",
        "thalweg.claims.architectures_layers:convolution",
        "Convolution flips its kernel, correlation does not",
        "architectures#a5",
    ),
    Member(
        "receptive-field",
        "thalweg.claims.architectures_layers:receptive_fields",
        "Two layers of width 3 see 3, then 5",
        "architectures#a5",
    ),
    Member(
        "map-size",
        "thalweg.claims.architectures_layers:map_size",
        "A 5x5 window fits 28 times into 32",
        "architectures#a7",
    ),
    Member(
        "pooling-2x2",
        "thalweg.claims.architectures_layers:pooling_2x2",
        "Pooling over 2x2 stands 3 of 8 shifts",
        "architectures#a6",
    ),
    Member(
        "pooling-3x3",
        "thalweg.claims.architectures_layers:pooling_3x3",
        "Pooling over 3x3 stands 5 of 9 shifts on average",
        "architectures#a6",
    ),
    Member(
        "lenet-shape",
        "thalweg.claims.architectures_lenet:lenet_shape",
        "The lectures' LeNet: shapes and 21,328 parameters",
        "architectures#a7",
    ),
    Member(
        "lenet-cost",
        "thalweg.claims.architectures_lenet:lenet_cost",
        "The lectures' LeNet takes 158,880 multiply-adds",
        "architectures#a8",
    ),
    Member(
        "lenet-mnist",
        "thalweg.claims.architectures_lenet:lenet_mnist",
        "The lectures' LeNet on MNIST",
        "architectures#a7",
    ),
    Member(
        "dropout-average",
        "thalweg.claims.architectures_masks:dropout_average",
        "Scaled weights average all thinned networks",
        "architectures#a9",
    ),
    Member(
        "dropout-p",
        "thalweg.claims.architectures_masks:dropout_p",
        "Dropout's p: kept or dropped",
        "architectures#a9",
    ),
    Member(
        "stochastic-depth",
        "thalweg.claims.architectures_masks:stochastic_depth",
        "A network of 54 blocks is 40.25 blocks deep",
        "architectures#a10",
    ),
)
