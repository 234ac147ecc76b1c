"""Rollouts that a change makes bolder, and fleets that it makes much larger. Called by ``review``."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from edgewright.core.address import Address
from edgewright.core.fleet.membership import members
from edgewright.core.review.findings import ReviewWarning
from edgewright.core.rollout.waves import plan_waves
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.base import format_duration
from edgewright_schemas.fleet import Fleet
from edgewright_schemas.rollout import MaxUnavailable, RolloutSpec, Wave, Window

_MUCH = 1.5
"""A fleet that grows beyond so many times its size is worth a word."""
_ALL = 100.0

Finding = tuple[str, str]
"""Reason and message."""


def rollouts_weakened(base: Snapshot, head: Snapshot) -> Iterator[ReviewWarning]:
    """Compare rollouts and fleets that are there before and after."""
    for name, old, new in successions(base, head):
        if old == new:
            continue
        address = Address("rollout", name)
        findings = [*_first_wave(head, name, old, new), *_soaks(old.waves, new.waves), *_limits(old, new)]
        for reason, message in [*findings, *_people_and_times(old, new)]:
            yield ReviewWarning(reason, address, message, head.resources[address].location)
    for address in sorted(a for a in head.resources if a.kind == "fleet"):
        fleet, was = head.fleet(address.name), base.fleet(address.name)
        if fleet is not None and was is not None:
            for reason, message in _growth(base, head, was, fleet):
                yield ReviewWarning(reason, address, message, head.resources[address].location)


def successions(base: Snapshot, head: Snapshot) -> Iterator[tuple[str, RolloutSpec, RolloutSpec]]:
    """Pair every rollout with the one before it: of its name, or else one that would be gone, of its fleet or model.

    A rollout under another name must not pass for one that nothing was ever asked of.
    """
    before = {rollout.metadata.name: rollout.spec for rollout in base.rollouts()}
    after = {rollout.metadata.name: rollout.spec for rollout in head.rollouts()}
    gone = [before[name] for name in sorted(before.keys() - after.keys())]
    for name, new in after.items():
        same = [old for old in gone if old.fleet == new.fleet] or [old for old in gone if old.model == new.model]
        old = before.get(name) or next(iter(same), None)
        if old is not None:
            yield name, old, new


def _first_wave(head: Snapshot, name: str, old: RolloutSpec, new: RolloutSpec) -> Iterator[Finding]:
    was, now = old.waves[0], new.waves[0]
    if was == now and len(old.waves) > 1 and len(new.waves) > 1:
        return
    fleet = head.fleet(new.fleet)
    devices = members(head, fleet, {}) if fleet is not None else {}
    counts = [len(plan_waves(name, spec, devices)[0]) for spec in (old, new)]
    first = f"the first wave would go from {_wave(was)} to {_wave(now)}"
    reached = f", from {counts[0]} to {counts[1]} of the {len(devices)} devices declared" if devices else ""
    if was.select is not None and now.select is None:
        yield "CanaryRemoved", f"{first}{reached}: no wave is chosen by labels before the others"
    elif len(old.waves) > 1 and (len(new.waves) == 1 or now.percent == _ALL):
        yield "CanaryRemoved", f"{first}{reached}: all devices would change at once"
    elif _larger(was, now) or (devices and counts[1] > counts[0]):
        yield "FirstWaveLarger", f"{first}{reached}"


def _larger(was: Wave, now: Wave) -> bool:
    if was.percent is not None and now.percent is not None:
        return now.percent > was.percent
    if was.select is not None and now.select is not None:
        return now.select.match_labels.items() < was.select.match_labels.items()
    return False


def _wave(wave: Wave) -> str:
    if wave.select is not None:
        return ", ".join(f"{key}={value}" for key, value in wave.select.match_labels.items())
    return f"{wave.percent:g} %"


def _soaks(old: Sequence[Wave], new: Sequence[Wave]) -> Iterator[Finding]:
    """Compare the waits after waves; a wave that is no longer there does not wait. After the last, nothing follows."""
    shorter = []
    for index, wave in enumerate(old):
        now = new[index].soak if index < len(new) else timedelta()
        if now < wave.soak:
            shorter.append(f"after wave {index + 1} {format_duration(wave.soak)} → {format_duration(now)}")
    if shorter:
        yield "SoakShortened", f"the soak would get shorter: {', '.join(shorter)}"


def _limits(old: RolloutSpec, new: RolloutSpec) -> Iterator[Finding]:
    was, now = old.max_unavailable, new.max_unavailable
    if was is not None and now is None:
        yield "MaxUnavailableRemoved", f"any number of devices may change at once; it was {_unavailable(was)}"
    elif was is not None and now is not None and (now.count > was.count or (was.per is None and now.per is not None)):
        yield "MaxUnavailableRaised", f"{_unavailable(was)} may change at once → {_unavailable(now)}"
    if new.success.min_ratio < old.success.min_ratio:
        yield (
            "SuccessRatioLowered",
            f"a wave would pass with {new.success.min_ratio:.6g} of its devices verified; it was "
            f"{old.success.min_ratio:.6g}",
        )


def _unavailable(limit: MaxUnavailable) -> str:
    count = "1 device" if limit.count == 1 else f"{limit.count} devices"
    return f"{count} for each {limit.per}" if limit.per else count


def _people_and_times(old: RolloutSpec, new: RolloutSpec) -> Iterator[Finding]:
    if old.approval is not None and new.approval is None:
        yield "ApprovalRemoved", f"nobody would be asked before wave {old.approval.before_wave}"
    elif old.approval and new.approval and new.approval.before_wave > old.approval.before_wave:
        yield (
            "ApprovalLater",
            f"a person would be asked before wave {new.approval.before_wave} first; it was before wave "
            f"{old.approval.before_wave}",
        )
    if old.window is not None and new.window is None:
        yield "WindowRemoved", f"waves may start at any time; it was {_window(old.window)}"
    elif old.window is not None and new.window is not None and old.window != new.window:
        same = (old.window.cron, old.window.time_zone) == (new.window.cron, new.window.time_zone)
        if not same or new.window.duration > old.window.duration:
            reason = "WindowWidened" if new.window.duration > old.window.duration else "WindowMoved"
            yield reason, f"waves may start {_window(new.window)}; it was {_window(old.window)}"
    if old.on_failure == "rollback" and new.on_failure == "pause":
        yield "RollbackOff", "a failed rollout would only pause: devices would keep what failed until a person acts"


def _window(window: Window) -> str:
    return f"for {format_duration(window.duration)} from {window.cron} ({window.time_zone})"


def _growth(base: Snapshot, head: Snapshot, was: Fleet, fleet: Fleet) -> Iterator[Finding]:
    before, after = len(members(base, was, {})), len(members(head, fleet, {}))
    if before and after > before * _MUCH:
        yield "FleetGrows", f"declares {after} devices; it was {before}"
    old, new = was.spec.selector, fleet.spec.selector
    if old is not None and new is not None and new.match_labels.items() < old.match_labels.items():
        gone = ", ".join(f"{key}={old.match_labels[key]}" for key in old.match_labels if key not in new.match_labels)
        yield "FleetGrows", f"its selector no longer asks for {gone}, so that more devices may be chosen"
