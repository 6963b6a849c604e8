"""Which tasks come with the library? One line each; nothing is imported until one is loaded."""

from __future__ import annotations

from thalweg.registry import Member, Registry

_LECUN = "LeCun, Bottou, Orr, Müller 1998, Efficient BackProp, section 5.2"
_SKLEARN = "data: scikit-learn"

TASKS = Registry(
    "task",
    Member(
        "digits",
        "thalweg.models.tasks.images:digits",
        "the lectures' LeNet on 8x8 handwritten digits, enlarged to 32x32 (no download)",
        _SKLEARN,
    ),
    Member(
        "digits-mlp",
        "thalweg.models.tasks.images:digits_mlp",
        "a 64-64-10 perceptron on 8x8 handwritten digits (no download)",
        _SKLEARN,
    ),
    Member(
        "digits-batchnorm",
        "thalweg.models.tasks.images:digits_batchnorm",
        "a deeper perceptron with batch normalisation on 8x8 digits (no download)",
        _SKLEARN,
    ),
    Member(
        "small-lenet",
        "thalweg.models.tasks.images:small_lenet",
        "the 47,658-weight LeNet of the spectrum figure on digits enlarged to 28x28 (no download)",
        "Chaudhari et al. 2017, Entropy-SGD, section 5.1",
    ),
    Member(
        "small-lenet-14",
        "thalweg.models.tasks.images:small_lenet_14",
        "the same at 3,032 weights on 14x14: its whole Hessian fits in memory (no download)",
        "Chaudhari et al. 2017, Entropy-SGD, section 5.1",
    ),
    Member(
        "diabetes",
        "thalweg.models.tasks.tables:diabetes",
        "regression: disease progression of 442 patients, a small perceptron (no download)",
        _SKLEARN,
    ),
    Member(
        "breast-cancer",
        "thalweg.models.tasks.tables:breast_cancer",
        "two classes, 569 tumours, 30 measurements, a small perceptron (no download)",
        _SKLEARN,
    ),
    Member(
        "wine",
        "thalweg.models.tasks.tables:wine",
        "three classes, 178 wines, 13 measurements, a small perceptron (no download)",
        _SKLEARN,
    ),
    Member(
        "linear-unit",
        "thalweg.models.tasks.synthetic:linear_unit",
        "one linear unit, two inputs, curvatures exactly 0.036 and 0.84: diverges above lr 2.38",
        _LECUN,
    ),
    Member(
        "quadratic",
        "thalweg.models.tasks.synthetic:quadratic",
        "a quadratic bowl, 20 curvatures log-spaced from 0.01 to 1, noisy gradients, minimum known",
    ),
    Member(
        "char-lm",
        "thalweg.models.tasks.text:char_lm",
        "a small transformer predicts the next character of Python's own topic help (no download)",
    ),
    Member(
        "mnist",
        "thalweg.models.tasks.folder:mnist",
        "the lectures' LeNet on MNIST (idx files in your data folder)",
        "LeCun, Cortes, Burges, The MNIST database of handwritten digits",
    ),
    Member(
        "mnist-small-lenet",
        "thalweg.models.tasks.folder:mnist_small_lenet",
        "the 47,658-weight LeNet of the spectrum figure on MNIST (idx files in your data folder)",
        "Chaudhari et al. 2017, Entropy-SGD, section 5.1",
    ),
    Member(
        "fashion-mnist",
        "thalweg.models.tasks.folder:fashion_mnist",
        "the lectures' LeNet on Fashion-MNIST (idx files in your data folder)",
        "Xiao, Rasul, Vollgraf 2017",
    ),
    Member(
        "cifar10",
        "thalweg.models.tasks.folder:cifar10",
        "a small convolutional network on CIFAR-10 (binary version or npz in your data folder)",
        "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    ),
)
