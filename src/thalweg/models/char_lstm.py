"""What is a small recurrent language model? An LSTM over characters."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CharLSTM(nn.Module):
    """An embedding, torch's LSTM and a linear read-out predict the next code at every place.

    Torch's initialisation, but forget gates start with bias 1, so that memory lasts from the start.

    >>> sum(p.numel() for p in CharLSTM(50, width=16, hidden=32).parameters())
    8850

    Args:
        vocabulary: Number of codes.
        width: Size of an embedding.
        hidden: Memory cells of each layer.
        layers: LSTM layers.

    References:
        Hochreiter, Schmidhuber, "Long short-term memory", 1997; Jozefowicz, Zaremba, Sutskever, "An
        empirical exploration of recurrent network architectures", 2015 (forget bias).
    """

    def __init__(self, vocabulary: int, width: int = 32, hidden: int = 64, layers: int = 1) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.memory = nn.LSTM(width, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)
        with torch.no_grad():
            for name, bias in self.memory.named_parameters():
                if name.startswith("bias_ih"):
                    bias[hidden : 2 * hidden].fill_(
                        1.0
                    )  # torch's gates: input, forget, cell, output
                elif name.startswith("bias_hh"):
                    bias[hidden : 2 * hidden].zero_()

    def forward(self, codes: Tensor) -> Tensor:
        """Logits ``(b, T, vocabulary)`` of codes ``(b, T)`` int64; each window starts from zero."""
        return self.head(self.memory(self.token(codes))[0])
