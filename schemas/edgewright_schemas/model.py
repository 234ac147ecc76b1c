"""Kind Model: trained, imported or made by a command; then exported and packaged alike."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from edgewright_schemas.base import API_VERSION, Metadata, Name, SpecModel, Use, is_code_reference
from edgewright_schemas.tasks import TASKS
from edgewright_wire.names import Digest

Task = Literal["image-classification", "tabular-classification", "regression", "object-detection"]
Origin = Literal["trained", "imported", "command"]
Decoder = Literal[
    "class-scores", "probabilities", "sklearn", "yolo-v5", "yolo-v8", "ssd", "detr", "boxes-scores-classes"
]
_ForEachChannel = Annotated[tuple[float, ...], Field(min_length=1, max_length=4)]


def _absent(value: object) -> bool:
    return value is None or value == ()


class EarlyStopping(SpecModel):
    """Stops when the validation metric no longer improves; the best epoch is kept."""

    metric: Literal["accuracy", "loss", "f1Macro", "mae", "rmse", "map", "countMae"] = "loss"
    patience: int = Field(default=3, ge=1)
    min_delta: float = Field(default=0.0, ge=0)


class Schedule(SpecModel):
    """Learning rate from step to step; ``learningRate`` is the highest."""

    kind: Literal["constant", "cosine", "step", "one-cycle"]
    """constant; cosine: falls to ``last``; step: times ``factor`` after ``every`` epochs; one-cycle: rises from a 25th
    over the first 30 % and falls to a 10,000th of that."""
    warm_up: int = Field(default=0, ge=0)
    """Epochs over which it first rises from nearly 0, step by step. Not for one-cycle."""
    every: int = Field(default=10, ge=1)
    factor: float = Field(default=0.1, gt=0, lt=1)
    last: float = Field(default=0.0, ge=0, lt=1)
    """Share of the learning rate at the end of cosine."""

    @model_validator(mode="after")
    def _one_rise(self) -> Self:
        if self.kind == "one-cycle" and self.warm_up:
            raise ValueError("one-cycle has a rise of its own: leave warmUp out")
        return self


class Averaging(SpecModel):
    """Moving average of the weights, which is what is validated and kept."""

    decay: float = Field(default=0.999, gt=0, lt=1)
    """Share of the average that a step keeps; less in the first steps."""


class Initialization(SpecModel):
    """Weights to start from: every weight of the architecture comes from the file, or is excluded."""

    uri: str = Field(min_length=1, examples=["models/backbone.safetensors", "https://example.com/backbone.pt"])
    digest: Digest
    """The file's sha256; anything else found there is refused."""
    format: Literal["safetensors", "torch-weights"]
    """torch-weights: a dict of tensors by torch.save. Nothing else in a file is read, and no code of it is run."""
    map: dict[str, str] = Field(default={})
    """Beginnings of names in the file, and what they are in the architecture: ``{"model.backbone.": "features."}``."""
    exclude: tuple[str, ...] = ()
    """Patterns (``head.*``) of names in the architecture that begin fresh, and of names in the file to leave."""


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
    # What follows is left out of fingerprints where it is not given.
    schedule: Schedule | None = Field(default=None, exclude_if=_absent)
    clip_gradients: float | None = Field(default=None, gt=0, exclude_if=_absent)
    """Largest norm of all gradients together; larger ones are scaled down to it."""
    accumulate: int | None = Field(default=None, ge=2, le=100_000, exclude_if=_absent)
    """Batches whose gradients are averaged before a step."""
    averaging: Averaging | None = Field(default=None, exclude_if=_absent)
    class_weights: Literal["balanced"] | dict[str, float] | None = Field(default=None, exclude_if=_absent)
    """Weight of a row of each class in the loss; balanced: as much less as there are more of it."""
    sampling: Literal["balanced"] | None = Field(default=None, exclude_if=_absent)
    """balanced: rows are drawn with replacement, each class as often as any other."""
    label_smoothing: float | None = Field(default=None, gt=0, lt=1, exclude_if=_absent)
    """Share of the truth that is spread over all classes."""
    initialize: Initialization | None = Field(default=None, exclude_if=_absent)
    freeze: tuple[str, ...] = Field(default=(), exclude_if=_absent, examples=[["features.*"]])
    """Patterns of names of weights that do not learn, and whose statistics stay."""
    unfreeze_after: int | None = Field(default=None, ge=1, exclude_if=_absent)
    """The last epoch in which they do not learn. Left out: never."""
    loss: str | None = Field(default=None, exclude_if=_absent, examples=["code/loss.py:focal"])
    """Your own function of a batch's outputs and targets, instead of the task's loss; returns a scalar tensor."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.loss is not None and not is_code_reference(self.loss):
            raise ValueError("loss names a function of the repository: code/loss.py:name")
        if self.loss is not None and (self.class_weights is not None or self.label_smoothing is not None):
            raise ValueError("classWeights and labelSmoothing are of the task's loss: leave them out, or loss")
        if self.initialize is not None and self.warm_start:
            raise ValueError("warmStart and initialize are two beginnings: leave one out")
        if self.unfreeze_after is not None and not self.freeze:
            raise ValueError("unfreezeAfter goes with freeze")
        if self.unfreeze_after is not None and self.unfreeze_after >= self.epochs:
            raise ValueError("unfreezeAfter is no earlier than the last epoch: leave it out, or make it smaller")
        if isinstance(self.class_weights, dict) and not all(weight > 0 for weight in self.class_weights.values()):
            raise ValueError("classWeights are above 0: to leave a class out, drop its rows")
        return self


class WeightFile(SpecModel):
    """A file that holds weights of an ONNX file, in its folder or below."""

    path: str = Field(min_length=1, examples=["reader.onnx.data"])
    """As the model names it, relative to the model's folder."""
    digest: Digest

    @field_validator("path")
    @classmethod
    def _confined(cls, value: str) -> str:
        if value.startswith("/") or "\\" in value or {"", ".", ".."} & set(value.split("/")):
            raise ValueError(f"a file of weights lies in the model's folder or below it, and {value!r} may not")
        return value


class ImportSource(SpecModel):
    """An existing ONNX file."""

    uri: str = Field(min_length=1, examples=["models/reader.onnx", "https://example.com/reader.onnx"])
    digest: Digest
    """The file's sha256; anything else found there is refused."""
    files: tuple[WeightFile, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Files in which it keeps weights; they are taken into it. ``edgewright inspect`` prints them."""


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
    from 0 to 1, adding up to 1; sklearn: a label and probabilities as skl2onnx writes them, in a ZipMap or not; others:
    detectors. Left out: one output, whose meaning is told by the graph's end or by its numbers."""
    outputs: dict[Literal["boxes", "scores", "classes", "logits"], str] = {}
    """Of a detector: names of the outputs that its decoder reads, where they have others."""
    classes: int | None = Field(default=None, ge=1, le=100_000)
    """Of a detector: how many classes it tells apart; needed where its outputs are numbers of classes."""
    first_class: int | None = Field(default=None, ge=0)
    """Of a detector that gives numbers of classes: that of the first. Left out: 1 for ssd, else 0."""
    box_unit: Literal["pixels", "share"] | None = None
    """Of a detector: unit of its boxes. Left out: shares of the picture for ssd and detr, else pixels of the input."""
    activation: Literal["none", "sigmoid"] = "none"
    """Of a detector: what makes probabilities of its scores."""


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
    """Non-maximum suppression: which of a detector's overlapping boxes are objects."""

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
        asked = self.training or Training()
        options = {
            "classWeights": asked.class_weights,
            "sampling": asked.sampling,
            "labelSmoothing": asked.label_smoothing,
        }
        by_class = [name for name, value in options.items() if value is not None]
        if by_class and "category" not in TASKS[self.task].label_types:
            raise ValueError(f"training.{by_class[0]} goes with tasks of one class for each row, not with {self.task}")
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
