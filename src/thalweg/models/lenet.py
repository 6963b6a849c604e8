"""What is the digit recogniser of the lectures? A LeNet of 21,328 parameters."""

from __future__ import annotations

from torch import Tensor, nn


class LeNetD1(nn.Module):
    """The lectures' LeNet: two convolutions with pooling, dropout, two linear layers.

    ============================== ============ ==========
    layer                          output       parameters
    ============================== ============ ==========
    conv 1→4, 5x5                  4 x 28 x 28  104
    ReLU, max-pool 2               4 x 14 x 14
    conv 4→6, 5x5                  6 x 10 x 10  606
    ReLU, max-pool 2               6 x 5 x 5
    flatten, dropout               150
    linear, ReLU                   128          19,328
    linear                         10           1,290
    total                                       21,328
    ============================== ============ ==========

    Weights start as torch's own defaults.

    >>> sum(p.numel() for p in LeNetD1().parameters())
    21328

    References:
        LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
        recognition", 1998.
    """

    def __init__(self, num_classes: int = 10, p_drop: float = 0.5) -> None:
        """Build the network.

        Args:
            num_classes: Outputs.
            p_drop: Dropout probability before the linear layers, in [0, 1].
        """
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(p_drop),
            nn.Linear(150, 128),
            nn.ReLU(),
            nn.Linear(128, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, num_classes)`` of grey images ``(b, 1, 32, 32)``."""
        return self.classifier(self.features(x))
