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
        "perceptron",
        "thalweg.models.tasks.threshold:perceptron",
        "one threshold unit: digits below five or not (no download)",
        "Rosenblatt 1958",
    ),
    Member(
        "xor",
        "thalweg.models.tasks.threshold:xor",
        "XOR of two noisy bits, a 2-2-1 network: beyond any single unit",
    ),
    Member(
        "dropout",
        "thalweg.models.tasks.masked:dropout",
        "a wide perceptron with torch's dropout on 8x8 digits (no download)",
        "Srivastava et al. 2014",
    ),
    Member(
        "dropout-lecture",
        "thalweg.models.tasks.masked:dropout_lecture",
        "the same in the lectures' form: plain masks, weights times p at test (no download)",
        "Srivastava et al. 2014, section 4",
    ),
    Member(
        "stochastic-depth",
        "thalweg.models.tasks.masked:stochastic_depth",
        "twelve residual blocks dropped at random on 8x8 digits (no download)",
        "Huang et al. 2016",
    ),
    Member(
        "autoencoder",
        "thalweg.models.tasks.autoencoders:autoencoder",
        "64-32-8-32-64 reconstructs 8x8 digits (no download)",
        _SKLEARN,
    ),
    Member(
        "linear-autoencoder",
        "thalweg.models.tasks.autoencoders:linear_autoencoder",
        "eight linear units: the minimum is PCA's subspace, and known (no download)",
        "Baldi and Hornik 1989",
    ),
    Member(
        "energy-autoencoder",
        "thalweg.models.tasks.autoencoders:energy_autoencoder",
        "an autoencoder read as a latent-variable energy: codes are inferred (no download)",
    ),
    Member(
        "vae",
        "thalweg.models.tasks.autoencoders:vae",
        "a variational autoencoder with 8 latents on 8x8 digits (no download)",
        "Kingma and Welling 2014",
    ),
    Member(
        "gan-gaussian",
        "thalweg.models.tasks.adversarial:gan_gaussian",
        "generator and discriminator on N(4, 0.5²), both losses descended at once",
        "Goodfellow et al. 2014",
    ),
    Member(
        "gan-ring",
        "thalweg.models.tasks.adversarial:gan_ring",
        "the same on eight Gaussians around a circle",
        "Goodfellow et al. 2014",
    ),
    Member(
        "char-lstm",
        "thalweg.models.tasks.text:char_lstm",
        "an LSTM on the text of char-lm (no download)",
        "Hochreiter and Schmidhuber 1997",
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
