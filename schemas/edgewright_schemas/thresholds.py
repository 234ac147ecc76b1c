"""Kind Thresholds: the gates that a model must pass, and watches for data drift."""

from typing import Literal, Self

from pydantic import Field, model_validator

from edgewright_schemas.base import API_VERSION, Duration, Metadata, Quantity, SpecModel
from edgewright_schemas.tasks import MODEL_METRICS, NOT_RESAMPLED


class Gate(SpecModel):
    """One threshold on one figure.

    Without evidence, or with one that is no finite number, a gate is inconclusive and does not pass.
    """

    metric: str = Field(min_length=1, examples=["accuracy", "f1Macro", "sizeBytes", "latencyP95Ms"])
    min: Quantity | None = None
    max: Quantity | None = None
    max_degradation: float | None = Field(default=None, ge=0)
    """How much worse than the champion it may be, in the metric's unit."""
    against: Literal["champion"] | None = None
    slice: dict[str, str] | None = Field(default=None, min_length=1, max_length=1)
    """One slice column and its value, or ``"*"`` for every value."""
    min_support: int | None = Field(default=None, ge=1)
    """The fewest test rows the figure may rest on, for macro figures of each class; with fewer it is inconclusive."""
    confidence: float | None = Field(default=None, ge=0.5, le=0.99, examples=[0.95])
    """Judge the figure by the worse end of its interval over resampled test rows (bootstrap), which holds this share of
    them: the lower end for min, the upper one for max, and of the paired difference for maxDegradation."""
    device_class: str | None = None
    """Judge figures measured on devices of this class, while the rollout runs, instead of the engine's."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min is None and self.max is None and self.max_degradation is None:
            raise ValueError("a gate needs min, max or maxDegradation")
        if (self.max_degradation is None) != (self.against is None):
            raise ValueError("maxDegradation and against: champion go together")
        if self.device_class is not None and self.metric != "latencyP95Ms":
            raise ValueError("deviceClass goes with latencyP95Ms: what devices measure in their probe")
        if self.device_class is not None and (self.slice or self.against):
            raise ValueError("a gate with deviceClass has no slice and no champion")
        if self.min_support is not None and self.metric in MODEL_METRICS:
            raise ValueError(f"{self.metric} rests on no rows, so minSupport has nothing to say")
        if self.confidence is not None and (self.metric in MODEL_METRICS or self.device_class):
            raise ValueError(f"{self.metric} rests on no rows, so confidence has nothing to say")
        if self.confidence is not None and self.metric in NOT_RESAMPLED:
            raise ValueError(f"{self.metric} is not computed over resampled rows: leave confidence out")
        return self


class DriftWatch(SpecModel):
    """One signal watched on devices against the training data."""

    signal: str = Field(min_length=1, examples=["input.brightness", "prediction"])
    test: Literal["psi", "ks", "chi2", "jensen-shannon", "wasserstein"] = "psi"
    max: float = Field(gt=0)
    min_samples: int = Field(default=500, ge=1)
    consecutive_windows: int = Field(default=3, ge=1)


class OnDrift(SpecModel):
    """Reaction to a drift alarm."""

    action: Literal["alert", "propose"] = "alert"
    cooldown: Duration = Field(default="7d", validate_default=True)


class ThresholdsSpec(SpecModel):
    """Gates and drift watches."""

    gates: tuple[Gate, ...] = ()
    drift: tuple[DriftWatch, ...] = ()
    on_drift: OnDrift = OnDrift()


class Thresholds(SpecModel):
    """Criteria that a model must meet."""

    api_version: Literal["edgewright.dev/v1alpha1"] = API_VERSION
    kind: Literal["Thresholds"]
    metadata: Metadata
    spec: ThresholdsSpec
