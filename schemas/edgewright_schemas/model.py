"""Kind Model: trained, imported or made by a command; then exported and packaged alike."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgewright_schemas.base import API_VERSION, Metadata, Name, SpecModel, Use
from edgewright_schemas.tasks import TASKS
from edgewright_wire.names import Digest

Task = Literal["image-classification", "tabular-classification", "regression", "object-detection"]
Origin = Literal["trained", "imported", "command"]
Decoder = Literal["class-scores", "probabilities", "sklearn"]
_ForEachChannel = Annotated[tuple[float, ...], Field(min_length=1, max_length=4)]


class EarlyStopping(SpecModel):
    """Stops when the validation metric no longer improves; the best epoch is kept."""

    metric: Literal["accuracy", "loss", "f1Macro", "mae", "rmse", "map", "countMae"] = "loss"
    patience: int = Field(default=3, ge=1)
    min_delta: float = Field(default=0.0, ge=0)


class Training(SpecModel):
    """Training of a model; every random choice is seeded."""

    epochs: int = Field(default=10, ge=1, le=100_000)
    batch_size: int = Field(default=64, ge=1, le=1_000_000)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    seed: int = 0
    early_stopping: EarlyStopping | None = None
    warm_start: bool = False
    """Start from the champion's weights instead of fresh ones."""
    environment: Literal["recorded", "pinned"] = "recorded"
    """pinned: library versions are part of the fingerprint, so another torch retrains."""


class ImportSource(SpecModel):
    """An existing ONNX file."""

    uri: str = Field(min_length=1, examples=["models/reader.onnx", "https://example.com/reader.onnx"])
    digest: Digest
    """The file's sha256; anything else found there is refused."""


class InputInterface(SpecModel):
    """Form in which the file takes a dataset's rows. What is left out is the dataset's own: NCHW, pixels 0 to 1, RGB.

    Names, shapes and element types are read from the file.
    """

    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Order of the axes of pictures: batch, channels, height, width; or with the channels last."""
    range: tuple[float, float] | None = Field(default=None, examples=[[0, 255], [-1, 1]])
    """Numbers for black and for white, before ``mean`` and ``std``. Left out: 0 and 255 for whole numbers, else 0 and
    1."""
    mean: _ForEachChannel | None = Field(default=None, examples=[[0.485, 0.456, 0.406]])
    """Subtracted; one number, or one for each channel in the order in which the file takes them."""
    std: _ForEachChannel | None = Field(default=None, examples=[[0.229, 0.224, 0.225]])
    """Divides what ``mean`` leaves; as many numbers."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """Order of the colours."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range is black, then white, the smaller number first; found {list(self.range)}")
        if any(value <= 0 for value in self.std or ()):
            raise ValueError(f"std divides: every number is above 0; found {list(self.std or ())}")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} numbers and std {len(self.std)}; both have one a channel")
        return self


class Interface(SpecModel):
    """Meaning of a file's input and outputs. Whatever contradicts the file is refused."""

    input: InputInterface | None = None
    output: str | None = Field(default=None, min_length=1, examples=["probabilities"])
    """The output that is used; needed where the decoder cannot tell it among several."""
    decoder: Decoder | None = None
    """Meaning of the output. class-scores: one score for each class, of any size (logits); probabilities: the same
    from 0 to 1, adding up to 1; sklearn: a label and probabilities as skl2onnx writes them, in a ZipMap or not. Left
    out: one output, whose meaning is told by the graph's end or by its numbers."""


class Quantization(SpecModel):
    """Quantization of the ONNX file."""

    mode: Literal["none", "static-int8"] = "none"
    calibration_samples: int = Field(default=200, ge=1, le=1_000_000)
    """Validation rows used to calibrate."""
    parity: float | None = Field(default=None, gt=0, examples=[0.1])
    """Largest error of the quantized model that is packaged: root mean square over validation rows, as a share of how
    much an output varies, for each output. Left out: 0.2 for regression, 0.5 for other tasks."""
    fallback: Literal["fp32", "none"] = "fp32"
    """The model to package when the quantized one cannot be made, is further off than ``parity``, or fails a gate."""


LARGEST_DEFAULT_ATOL = 0.05


class Golden(SpecModel):
    """Golden samples: a device must reproduce their outputs before it may switch to the model."""

    samples: int = Field(default=16, ge=1, le=1024)
    atol: float | None = Field(default=None, gt=0)
    """Largest absolute difference from the expected output, in the output's unit. Left out: a tenth of the spread of
    what is expected, at most 0.05. One under which a constant or swapped outputs would pass is refused."""


class PackageSpec(SpecModel):
    """Package for the devices."""

    format: Literal["onnx"] = "onnx"
    quantization: Quantization = Quantization()
    golden: Golden = Golden()
    opset: int = Field(default=18, ge=13, le=24)


class Nms(SpecModel):
    """Which of a detector's overlapping boxes are objects (non-maximum suppression)."""

    score: float = Field(default=0.5, gt=0, lt=1)
    """Least score of an object that is counted. Precision is measured over lower scores too, from 0.01 on."""
    iou: float = Field(default=0.5, gt=0, le=1)
    """Two boxes of a class that overlap by more (intersection over union) are one object."""
    max_detections: int = Field(default=100, ge=1, le=10_000)
    """The most objects of a picture."""


class ModelSpec(SpecModel):
    """The desired model. Exactly one of architecture, source and command."""

    task: Task
    dataset: Name
    architecture: Use | None = None
    training: Training | None = None
    source: ImportSource | None = None
    interface: Interface | None = None
    """Meaning of the input and outputs of the file that ``source`` names; the dataset's own where it is left out."""
    command: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Arguments of a program run in a checkout of the repository; it must write ``output``. The dataset's files
    are in the folder ``$EDGEWRIGHT_DATASET``, and ``$EDGEWRIGHT_OUTPUT`` names the file to write."""
    inputs: tuple[str, ...] = ()
    """Repository paths a command reads; a change in one runs it again."""
    output: str = "model.onnx"
    """The file a command writes, below its output folder."""
    package: PackageSpec = PackageSpec()
    nms: Nms | None = None
    """For object detection."""
    thresholds: Name | None = None

    @property
    def origin(self) -> Origin:
        """Origin of this model: trained, imported or made by a command."""
        if self.architecture is not None:
            return "trained"
        return "imported" if self.source is not None else "command"

    @property
    def int8_bound(self) -> float:
        """Largest error of the quantized model that is packaged, as a share of an output's deviation."""
        declared = self.package.quantization.parity
        return declared if declared is not None else TASKS[self.task].int8_bound

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [n for n in ("architecture", "source", "command") if getattr(self, n) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"a model has exactly one of architecture, source and command; found {found}")
        if self.training is not None and self.architecture is None:
            raise ValueError("training goes with architecture only")
        if self.nms is not None and self.task != "object-detection":
            raise ValueError("nms goes with the task object-detection only")
        if self.interface is not None and self.source is None:
            raise ValueError("interface goes with source only: what is made otherwise takes the dataset's rows")
        return self

    @property
    def training_or_default(self) -> Training:
        """The training section with its defaults filled in."""
        return self.training or Training()


class Model(SpecModel):
    """A model, from its data to its package."""

    api_version: Literal["edgewright.dev/v1alpha1"] = API_VERSION
    kind: Literal["Model"]
    metadata: Metadata
    spec: ModelSpec
