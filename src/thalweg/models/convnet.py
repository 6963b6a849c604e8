"""What is a small network for colour images? Three convolutions and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn


class SmallConvNet(nn.Module):
    """Three 3x3 convolutions (16, 32, 64 channels), each with ReLU and pooling, then a linear map.

    >>> sum(p.numel() for p in SmallConvNet().parameters())
    33834
    """

    def __init__(self, channels: int = 3, num_classes: int = 10) -> None:
        """Build the network for ``channels`` input planes and ``num_classes`` outputs."""
        super().__init__()
        blocks: list[nn.Module] = []
        for wide, narrow in ((channels, 16), (16, 32), (32, 64)):
            blocks += [nn.Conv2d(wide, narrow, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(64 * 4 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(b, num_classes)`` of images ``(b, channels, 32, 32)``."""
        return self.classifier(self.features(x).flatten(1))
