"""Declarations of the tasks that a Model may have: what each measures, and which labels it takes.

``source`` checks specs against this table, gates and model cards read it, and ``edgewright.pipeline.tasks`` implements
each entry; so nothing heavy is imported here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

MODEL_METRICS = ("sizeBytes", "latencyP50Ms", "latencyP95Ms")
"""Figures of a model itself, whatever its task; of each, less is better."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a model's outputs."""

    name: str
    hub_name: str
    """Its name in model cards of the Hugging Face Hub."""
    lower_is_better: bool = False
    over_classes: bool = False
    """A mean over classes, which leaves out a class without rows."""
    watched: bool = False
    """Computed after each epoch on the validation split, so that early stopping can follow it."""
    resampled: bool = True
    """Computed over resampled test rows where a gate has a confidence."""
    added: bool = False
    """Not measured by evaluations kept from before it was added: one that is to be judged by it is made again."""


@dataclass(frozen=True, slots=True)
class TaskDeclaration:
    """One task."""

    metrics: tuple[Metric, ...]
    """Of evaluation and gates, the most telling first."""
    label_types: frozenset[str]
    """Types that the label column may have."""
    label_words: str
    """The same in words, for messages: ``a label with categories``."""
    label_hint: str
    """What helps where the label is of another type."""
    int8_bound: float
    """Default of ``package.quantization.parity``."""
    hub_task: str
    """The task's name on the Hugging Face Hub (``pipeline_tag``)."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the figures that gates may ask for."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def watched_names(self) -> tuple[str, ...]:
        """Names of the figures that early stopping may follow."""
        return tuple(sorted(metric.name for metric in self.metrics if metric.watched))


_CLASSIFICATION_METRICS = (
    Metric("accuracy", "accuracy", watched=True),
    Metric("f1Macro", "f1", over_classes=True, watched=True),
    Metric("precisionMacro", "precision", over_classes=True),
    Metric("recallMacro", "recall", over_classes=True),
    Metric("loss", "cross_entropy_loss", lower_is_better=True, watched=True),
    Metric("rocAuc", "roc_auc", over_classes=True, added=True),
    Metric("averagePrecision", "average_precision", over_classes=True, added=True),
    Metric("brier", "brier_score", lower_is_better=True, added=True),
    Metric("calibrationError", "ece", lower_is_better=True, added=True),
    Metric("top3Accuracy", "top_3_accuracy", added=True),
    Metric("top5Accuracy", "top_5_accuracy", added=True),
)


def _classification(hub_task: str) -> TaskDeclaration:
    return TaskDeclaration(
        metrics=_CLASSIFICATION_METRICS,
        label_types=frozenset({"category", "boolean"}),
        label_words="a label with categories",
        label_hint="declare the column's type category, or use the task regression",
        # Scores of classes may move further than a number before another one is the largest.
        int8_bound=0.5,
        hub_task=hub_task,
    )


TASKS: Mapping[str, TaskDeclaration] = {
    "image-classification": _classification("image-classification"),
    "tabular-classification": _classification("tabular-classification"),
    "regression": TaskDeclaration(
        metrics=(
            Metric("mae", "mae", lower_is_better=True, watched=True),
            Metric("rmse", "rmse", lower_is_better=True, watched=True),
            Metric("r2", "r_squared"),
        ),
        label_types=frozenset({"number", "integer"}),
        label_words="a numeric label",
        label_hint="use a classification task, or declare the column's type number",
        # Costs at most 0.04 of r2.
        int8_bound=0.2,
        hub_task="tabular-regression",
    ),
    "object-detection": TaskDeclaration(
        metrics=(
            Metric("map", "map", watched=True, resampled=False),
            Metric("ap50", "ap50", resampled=False),
            Metric("ap75", "ap75", resampled=False),
            Metric("mapSmall", "map_small", resampled=False),
            Metric("mapMedium", "map_medium", resampled=False),
            Metric("mapLarge", "map_large", resampled=False),
            Metric("ar", "ar", resampled=False),
            Metric("countMae", "count_mae", lower_is_better=True, watched=True),
            Metric("countExact", "count_exact"),
            Metric("falseAlarmsPerFrame", "false_alarms_per_frame", lower_is_better=True),
            Metric("falseAlarmsPerEmptyFrame", "false_alarms_per_empty_frame", lower_is_better=True),
        ),
        label_types=frozenset({"boxes"}),
        label_words="a label of objects",
        label_hint="read labels of a format with boxes, or use a classification task",
        int8_bound=0.5,
        hub_task="object-detection",
    ),
}
"""By the name that specs give."""

_ALL = tuple({metric.name: metric for task in TASKS.values() for metric in task.metrics}.values())
METRICS = (*(metric.name for metric in _ALL), *MODEL_METRICS)
LOWER_IS_BETTER = frozenset(chain((metric.name for metric in _ALL if metric.lower_is_better), MODEL_METRICS))
OVER_CLASSES = frozenset(metric.name for metric in _ALL if metric.over_classes)
ADDED = frozenset(metric.name for metric in _ALL if metric.added)
NOT_RESAMPLED = frozenset(metric.name for metric in _ALL if not metric.resampled)
HUB_METRICS: Mapping[str, str] = {metric.name: metric.hub_name for metric in _ALL}
