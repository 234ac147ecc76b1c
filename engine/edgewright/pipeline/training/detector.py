"""Built-in detector, without anchors, and the loss that it and other grids of positions learn by."""

from collections.abc import Sequence

import torch
from torch import nn

from edgewright.errors import StepFailed
from edgewright_schemas.builtins import SmallDetectorArguments

_STRIDES = (2, 4, 8, 16, 32)
_NEAR = 1.0
"""Strides from an object's middle within which positions learn it."""
_FOCUS = 2.0
_POSITIVE = 0.5
"""Share of the loss of positions that are an object, against those that are none (focal loss)."""
_LEAST = 1e-6
_BOX_WEIGHT = 2.0
_AT_ONCE = 64


class SmallDetector(nn.Module):
    """Convolutions down to one grid of positions, wide enough to see around objects, and a box with scores from each.

    Input (N, C, H, W), output (N, positions, 4 + classes): x, y, width and height as shares of the picture, then the
    classes' scores from 0 to 1. Everything is within 0 to 1 or near it, which one scale of int8 holds.
    """

    columns: torch.Tensor
    rows: torch.Tensor

    def __init__(self, arguments: SmallDetectorArguments, input_shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        layers: list[nn.Module] = []
        wide, stride = arguments.width, 1
        while stride < arguments.stride:
            layers += _block(channels, wide, step=2)
            channels, stride = wide, 2 * stride
            height, width = -(-height // 2), -(-width // 2)
            wide = min(2 * wide, 4 * arguments.width)
        for reach in (1, 2, 4):
            layers += _block(channels, channels, reach=reach)
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, 4 + outputs, kernel_size=1)
        with torch.no_grad():
            # Most positions are no object, and objects are small: begin there.
            assert self.head.bias is not None
            self.head.bias[:2] = 0.0
            self.head.bias[2:4] = -1.5
            self.head.bias[4:] = -4.0
        self.height, self.width = height, width
        at = torch.arange(height * width)
        self.register_buffer("columns", (at % width).float(), persistent=False)
        self.register_buffer("rows", torch.div(at, width, rounding_mode="floor").float(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute boxes and scores (N, positions, 4 + classes) of images (N, C, H, W)."""
        found = torch.sigmoid(self.head(self.features(images))).flatten(2).transpose(1, 2)
        wide, high = found[:, :, 2], found[:, :, 3]
        # A position answers for middles up to half a stride outside of it.
        left = (self.columns + 2 * found[:, :, 0] - 0.5) / self.width - wide / 2
        top = (self.rows + 2 * found[:, :, 1] - 0.5) / self.height - high / 2
        return torch.cat([torch.stack([left, top, wide, high], dim=2), found[:, :, 4:]], dim=2)


def _block(channels: int, wide: int, *, step: int = 1, reach: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, wide, 3, stride=step, padding=reach, dilation=reach, bias=False)
    return [convolution, nn.BatchNorm2d(wide), nn.ReLU()]


def detection_loss(outputs: torch.Tensor, labels: torch.Tensor, frame: tuple[int, int]) -> torch.Tensor:
    """Compute the loss of a grid of positions: focal for scores, generalised overlap for boxes; of each object.

    A position within one stride of an object's middle learns it, the smallest where there are several; in a crowd it
    learns nothing of that class.

    Args:
        outputs: (N, positions, 4 + classes) of a grid, row by row.
        labels: (N, most, 6) as ``dataset.boxes`` writes them.
        frame: Width and height of the pictures, in pixels.

    Raises:
        StepFailed: The positions are no grid of the picture.
    """
    centers, stride = _grid(outputs, frame)
    total, objects = outputs.new_zeros(()), outputs.new_zeros(())
    for part, truth in zip(torch.split(outputs, _AT_ONCE), torch.split(labels, _AT_ONCE), strict=True):
        loss, count = _summed(part, truth, centers, stride, frame)
        total, objects = total + loss, objects + count
    return total / objects.clamp_min(1.0)


def _grid(outputs: torch.Tensor, frame: tuple[int, int]) -> tuple[torch.Tensor, int]:
    """Return the middles (positions, 2) of a grid's positions in pixels, and its stride."""
    width, height = frame
    for stride in _STRIDES:
        columns, rows = -(-width // stride), -(-height // stride)
        if columns * rows == outputs.shape[1]:
            at = torch.arange(columns * rows, device=outputs.device)
            middle = torch.stack([at % columns, torch.div(at, columns, rounding_mode="floor")], dim=1)
            return (middle + 0.5) * outputs.new_tensor([width / columns, height / rows]), stride
    raise StepFailed(
        f"the model gives {outputs.shape[1]} positions for pictures of {width} x {height}, which are no grid of a "
        f"stride among {', '.join(map(str, _STRIDES))}",
        hint="give one position for each cell of one grid, row by row, or use small-detector",
    )


def _summed(
    outputs: torch.Tensor, labels: torch.Tensor, centers: torch.Tensor, stride: int, frame: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the loss summed over a few pictures, and how many positions are an object."""
    boxes, there, crowd = labels[:, :, 1:5], labels[:, :, 0] >= 0, labels[:, :, 5] > 0
    inside, near = _placed(centers, boxes, stride)
    candidate = inside & near & (there & ~crowd).unsqueeze(1)
    area = (boxes[:, :, 2] * boxes[:, :, 3]).unsqueeze(1).expand_as(candidate)
    smallest, chosen = area.masked_fill(~candidate, float("inf")).min(dim=2)
    positive = torch.isfinite(smallest)
    classes = outputs.shape[2] - 4
    category = labels[:, :, 0].clamp_min(0).long()
    truth = torch.nn.functional.one_hot(category.gather(1, chosen), classes) * positive.unsqueeze(2)
    # (N, positions, classes): within a crowd of the class.
    kinds = torch.nn.functional.one_hot(category, classes) * (there & crowd).unsqueeze(2)
    aside = torch.einsum("npm,nmc->npc", inside.to(outputs.dtype), kinds.to(outputs.dtype)) > 0
    scores = outputs[:, :, 4:].clamp(_LEAST, 1 - _LEAST)
    right = torch.where(truth > 0, scores, 1 - scores)
    share = torch.where(truth > 0, _POSITIVE, 1 - _POSITIVE)
    focal = -share * (1 - right) ** _FOCUS * right.log()
    focal = focal.masked_fill(aside & (truth == 0), 0.0)
    scale = outputs.new_tensor([frame[0], frame[1], frame[0], frame[1]])
    wanted = boxes.gather(1, chosen.unsqueeze(2).expand(-1, -1, 4)) / scale
    apart = 1 - _generalised_overlap(outputs[:, :, :4], wanted)
    return focal.sum() * 4 + _BOX_WEIGHT * (apart * positive).sum(), positive.sum().to(outputs.dtype)


def _placed(centers: torch.Tensor, boxes: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mark positions within each box, and those near its middle: (N, positions, objects) each.

    The position whose cell holds the middle counts as within, so that an object smaller than a cell is learned.
    """
    at = centers[None, :, None, :]
    start, size = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    away = (at - (start + size / 2)).abs().amax(dim=3)
    inside = ((at >= start) & (at <= start + size)).all(dim=3)
    return inside | (away <= stride / 2), away <= _NEAR * stride


def _generalised_overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Compute the generalised intersection over union of boxes (…, 4), from -1 to 1."""
    ends, others = first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:]
    shared = (torch.minimum(ends, others) - torch.maximum(first[..., :2], second[..., :2])).clamp_min(0).prod(-1)
    whole = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - shared
    around = (torch.maximum(ends, others) - torch.minimum(first[..., :2], second[..., :2])).prod(-1)
    return shared / whole.clamp_min(_LEAST) - (around - whole) / around.clamp_min(_LEAST)
