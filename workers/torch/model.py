"""The network in PyTorch. A copy of this file travels inside every archive, so it imports nothing of ours."""

import torch
import torch.nn.functional as F
from torch import nn


class Network(nn.Module):
    """Convolution of 32 filters 3x3, a hidden layer of 128, ten logits: 2,770,634 parameters.

    The parameters' names and layouts are those of the canonical weights file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 32, kernel_size=3)
        self.dense = nn.Linear(32 * 26 * 26, 128)
        self.logits = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`images` is FP32 [N,28,28], pixels 0..1, light on dark. Returns `logits`, FP32 [N,10]."""
        features = F.relu(self.conv(images.unsqueeze(1)))
        hidden = F.relu(self.dense(features.flatten(1)))
        logits: torch.Tensor = self.logits(hidden)
        return logits
