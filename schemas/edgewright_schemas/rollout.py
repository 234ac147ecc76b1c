"""Kind Rollout: one model, one fleet, the waves between them, and the criteria of success."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from edgewright_schemas.base import API_VERSION, Duration, Metadata, Name, Ratio, Selector, SpecModel


class Wave(SpecModel):
    """A part of the fleet changed together: by labels, or up to a share of the whole fleet."""

    select: Selector | None = None
    percent: float | None = Field(default=None, gt=0, le=100)
    """Cumulative: ``percent: 25`` means until a quarter of the fleet has been taken in."""
    soak: Duration = Field(default="0s", validate_default=True)
    """The wait after the wave, during which a failing device still halts the rollout."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.select is None) == (self.percent is None):
            raise ValueError("a wave has exactly one of select and percent")
        return self


class MaxUnavailable(SpecModel):
    """Limit on devices that change at the same time, in total or for each value of a label."""

    count: int = Field(ge=1)
    per: str | None = None


class Success(SpecModel):
    """Criteria for the success of a wave."""

    min_ratio: Ratio = 1.0
    """Verified devices among those that could answer; offline devices do not count."""
    deadline: Duration = Field(default="24h", validate_default=True)
    """How long one device may take from its assignment to verified."""


def _known_zone(value: str) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"unknown time zone {value!r}; use a name like Europe/Paris") from error
    return value


def _valid_cron(value: str) -> str:
    from croniter import croniter

    if len(value.split()) != 5 or not croniter.is_valid(value):
        raise ValueError('a cron expression has five fields, like "0 22 * * *"')
    return value


class Window(SpecModel):
    """Time window in which waves may start."""

    cron: Annotated[str, AfterValidator(_valid_cron)]
    duration: Duration
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"


class Approval(SpecModel):
    """Manual approval required before this wave (1 is the first) and every later one."""

    before_wave: int = Field(ge=1)


class RolloutSpec(SpecModel):
    """The desired rollout."""

    model: Name
    fleet: Name
    waves: tuple[Wave, ...] = (Wave(percent=100),)
    max_unavailable: MaxUnavailable | None = None
    success: Success = Success()
    on_failure: Literal["rollback", "pause"] = "rollback"
    offline_after: Duration = Field(default="15m", validate_default=True)
    """A device without a report for this long is offline: deferred until it reports again."""
    window: Window | None = None
    approval: Approval | None = None
    suspend: bool = False

    @model_validator(mode="after")
    def _waves_grow(self) -> Self:
        shares = [wave.percent for wave in self.waves if wave.percent is not None]
        if shares != sorted(set(shares)):
            raise ValueError(f"percents are cumulative and must grow; found {', '.join(f'{s:g}' for s in shares)}")
        if not self.waves:
            raise ValueError("a rollout needs at least one wave")
        if self.approval and self.approval.before_wave > len(self.waves):
            raise ValueError(
                f"approval.beforeWave is {self.approval.before_wave}, but there are {len(self.waves)} waves"
            )
        return self


class Rollout(SpecModel):
    """One model on its way to one fleet."""

    api_version: Literal["edgewright.dev/v1alpha1"] = API_VERSION
    kind: Literal["Rollout"]
    metadata: Metadata
    spec: RolloutSpec
