"""Built-in architectures; ``edgewright_schemas.builtins`` declares the arguments each accepts.

``train_module`` calls ``build_architecture``. Every module here exports to ONNX with plain operators (Conv, into which
BatchNormalization folds, Relu, MaxPool, ReduceMean, Gemm) and keeps its activations in a range int8 represents well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from edgewright.errors import StepFailed
from edgewright.pipeline.training.detector import SmallDetector
from edgewright_schemas.base import SpecModel
from edgewright_schemas.builtins import ARCHITECTURES, MlpArguments, SmallCnnArguments

_ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}
_SMALLEST_POOLED = 8
"""Height or width below which a block no longer halves the image."""


class SmallCnn(nn.Module):
    """Three blocks of convolution, batch normalisation, activation and (while it is large enough) 2x2 max pooling.

    Input (N, C, H, W), output (N, outputs).
    """

    def __init__(self, arguments: SmallCnnArguments, input_shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        layers: list[nn.Module] = []
        for wide in (arguments.width, 2 * arguments.width, 2 * arguments.width):
            layers += [
                nn.Conv2d(channels, wide, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(wide),
                _ACTIVATIONS[arguments.activation](),
            ]
            if min(height, width) >= _SMALLEST_POOLED:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            channels = wide
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(arguments.dropout)
        self.head = nn.Linear(channels, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits (N, outputs) of images (N, C, H, W)."""
        # A mean over the image, not AdaptiveAvgPool2d: the latter has no deterministic gradient on CUDA.
        pooled = self.features(images).mean(dim=(2, 3))
        return _tensor(self.head(self.dropout(pooled)))


class Mlp(nn.Module):
    """Linear layers with an activation between them. Input (N, F) in the features' own units, output (N, outputs).

    ``feature_mean`` and ``feature_scale`` are part of the module, so that the exported file takes raw features.
    """

    feature_mean: torch.Tensor
    feature_scale: torch.Tensor

    def __init__(self, arguments: MlpArguments, input_shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        (size,) = input_shape
        self.register_buffer("feature_mean", torch.zeros(size))
        self.register_buffer("feature_scale", torch.ones(size))
        layers: list[nn.Module] = []
        for hidden in arguments.hidden:
            layers += [nn.Linear(size, hidden), _ACTIVATIONS[arguments.activation](), nn.Dropout(arguments.dropout)]
            size = hidden
        layers.append(nn.Linear(size, outputs))
        self.layers = nn.Sequential(*layers)

    def standardize(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Take over the features' mean and standard deviation, both (F,). A constant feature is only centred."""
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute (N, outputs) from raw features (N, F)."""
        return _tensor(self.layers((features - self.feature_mean) / self.feature_scale))


class ScaledOutput(nn.Module):
    """A regressor whose body works in standard units and whose output is in the label's unit, (N, 1)."""

    target_mean: torch.Tensor
    target_scale: torch.Tensor

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("target_mean", torch.zeros(1))
        self.register_buffer("target_scale", torch.ones(1))

    def standardize(self, mean: float, deviation: float) -> None:
        """Take over the label's mean and standard deviation."""
        self.target_mean.fill_(mean)
        self.target_scale.fill_(deviation if deviation > 0 else 1.0)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute predictions (N, 1) in the label's unit."""
        return _tensor(self.body(inputs) * self.target_scale + self.target_mean)


def _tensor(value: Any) -> torch.Tensor:
    assert isinstance(value, torch.Tensor)
    return value


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """One built-in: the rank of input it takes, how it is made."""

    rank: int
    takes: str
    make: Callable[[Any, Sequence[int], int], nn.Module]


_BUILT_INS: Mapping[str, _BuiltIn] = {
    "small-cnn": _BuiltIn(3, "images", SmallCnn),
    "mlp": _BuiltIn(1, "tabular features", Mlp),
    "small-detector": _BuiltIn(3, "images", SmallDetector),
}


def build_architecture(
    use: str, arguments: Mapping[str, Any], *, input_shape: Sequence[int], outputs: int
) -> nn.Module:
    """Make a built-in with fresh weights drawn from torch's global generator.

    Args:
        use: Its name.
        arguments: What the spec gives it under ``with``.
        input_shape: (C, H, W) for images, (F,) for tabular features; without the batch.
        outputs: Numbers for each row: classes, or 1 for regression.

    Raises:
        StepFailed: No such architecture, arguments it does not accept, or input it does not fit.
    """
    built_in = _BUILT_INS.get(use)
    if built_in is None:
        raise StepFailed(
            f"architecture {use!r} is not known",
            hint=f"use {' or '.join(_BUILT_INS)}, or your own class as path/file.py:Class",
        )
    parsed = _parse(use, ARCHITECTURES[use], arguments)
    if len(input_shape) != built_in.rank:
        fitting = [name for name, other in _BUILT_INS.items() if other.rank == len(input_shape)]
        raise StepFailed(
            f"architecture {use} takes {built_in.takes}, but the dataset's rows have the shape {list(input_shape)}",
            hint=f"use {' or '.join([*fitting, 'your own class'])}",
        )
    return built_in.make(parsed, input_shape, outputs)


def _parse(use: str, model: type[SpecModel], arguments: Mapping[str, Any]) -> SpecModel:
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        known = ", ".join(field.alias or name for name, field in model.model_fields.items())
        problems = [
            f"unknown argument {'.'.join(map(str, e['loc']))}"
            if e["type"] == "extra_forbidden"
            else f"{'.'.join(map(str, e['loc']))}: {e['msg']}, not {e['input']!r}"
            for e in error.errors(include_url=False)
        ]
        raise StepFailed(f"architecture {use}: {'; '.join(problems)}", hint=f"it accepts {known}") from None
