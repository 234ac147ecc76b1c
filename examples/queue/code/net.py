"""The network that counts."""

import torch
from torch import nn


class QueueNet(nn.Module):
    """Three convolutions that shrink the frame, then two dense layers that know where in the lane something is.

    Args:
        width: Channels of the first convolution.
        input_shape: (C, H, W); edgewright fills it in from the dataset.
        outputs: Number of classes; filled in as well.
    """

    def __init__(self, width: int, input_shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        channels, height, frame_width = input_shape
        self.features = nn.Sequential(
            _block(channels, width, stride=1),
            _block(width, 2 * width, stride=2),
            _block(2 * width, 2 * width, stride=2),
        )
        cells = -(-height // 4) * -(-frame_width // 4)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * width * cells, 32),
            nn.ReLU(),
            nn.Linear(32, outputs),
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) in [0, 1] → (N, outputs), one score per class."""
        scores: torch.Tensor = self.head(self.features(frames))
        return scores


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
