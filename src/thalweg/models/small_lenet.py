"""Which network had its Hessian spectrum drawn in the lectures? The small LeNet, 47,658 weights."""

from __future__ import annotations

from torch import Tensor, nn


class SmallLeNet(nn.Module):
    """Two convolutions with pooling and two linear layers, without dropout.

    ============================== ============ ==========
    layer                          output       parameters
    ============================== ============ ==========
    conv 1→10, 5x5                 10 x 24 x 24 260
    ReLU, max-pool 2               10 x 12 x 12
    conv 10→20, 5x5                20 x 8 x 8   5,020
    ReLU, max-pool 2               20 x 4 x 4
    linear, ReLU                   128          41,088
    linear                         10           1,290
    total                                       47,658
    ============================== ============ ==========

    On images of 14x14 the second convolution is padded by 2, so that 2x2 places are left; with
    channels (5, 10) and 32 hidden units that is a network of 3,032 parameters.

    >>> sum(p.numel() for p in SmallLeNet().parameters())
    47658

    References:
        Chaudhari et al., "Entropy-SGD: biasing gradient descent into wide valleys", ICLR 2017,
        section 5.1.
    """

    def __init__(
        self,
        channels: tuple[int, int] = (10, 20),
        hidden: int = 128,
        size: int = 28,
        num_classes: int = 10,
    ) -> None:
        """Build the network.

        Args:
            channels: Planes after each convolution.
            hidden: Units of the first linear layer.
            size: Rows and columns of the images, 28 or 14.
            num_classes: Outputs.

        Raises:
            ValueError: Another size.
        """
        super().__init__()
        if size not in (14, 28):
            raise ValueError(f"size is {size}; the small LeNet reads images of 28x28 or 14x14.")
        first, second = channels
        padding, places = (0, 4) if size == 28 else (2, 2)
        self.features = nn.Sequential(
            nn.Conv2d(1, first, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(second * places**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, num_classes)`` of grey images ``(b, 1, size, size)``."""
        return self.classifier(self.features(x))
