"""Repair steps for config drift, and notes where nothing is to be repaired. Called by ``planner``."""

from collections.abc import Iterable

from edgewright.core.address import Address
from edgewright.core.config_drift import CONFIG_DRIFTED, ConfigDrift, Remedy, describe_drifts
from edgewright.core.planning.plan import AdvanceWave, BuildStep, Publish, Reason, Repair, Rollback, StartRollout
from edgewright.core.planning.workbench import Workbench

_BY_THE_ENGINE = frozenset({Remedy.ASSIGN, Remedy.WRITE, Remedy.PUBLISH})


def plan_repairs(bench: Workbench) -> None:
    """Plan the repairs of config drift, a step for each resource; note what the engine cannot repair."""
    by_address: dict[Address, list[ConfigDrift]] = {}
    for drift in bench.observed.drift:
        by_address.setdefault(drift.address, []).append(drift)
    publishes = {step.address for step in bench.steps if isinstance(step, Publish)}
    rolling = {step.address for step in bench.steps if isinstance(step, StartRollout | AdvanceWave | Rollback)}
    rebuilt = {step.fingerprint for step in bench.steps if isinstance(step, BuildStep)}
    for address, drifts in sorted(by_address.items()):
        # What other steps of this plan make whole needs no second one.
        left = [
            drift
            for drift in drifts
            if not (drift.remedy is Remedy.PUBLISH and address in publishes)
            and not (drift.remedy is Remedy.ASSIGN and address in rolling)
            and not (drift.remedy is Remedy.REBUILD and drift.key in rebuilt)
        ]
        if bench.heals:
            left = _plan(bench, address, left)
        _note(bench, address, left)


def _plan(bench: Workbench, address: Address, drifts: Iterable[ConfigDrift]) -> list[ConfigDrift]:
    """Plan one step for what can be repaired now; gives the rest."""
    now, under_way, rest = [], [], []
    for drift in drifts:
        if drift.remedy in _BY_THE_ENGINE and (drift.not_before is None or drift.not_before <= bench.now):
            now.append(drift)
        elif drift.remedy is Remedy.UNDER_WAY:
            under_way.append(drift)
        else:
            rest.append(drift)
    if now or under_way:
        reasons = tuple(Reason(f"{drift.name} {drift.field}", drift.found, drift.expected) for drift in now)
        step = Repair(address=address, reasons=reasons, drifts=tuple(now), under_way=tuple(under_way))
        bench.steps.append(step)
        bench.consulted[f"drift {address}"] = [[r.field, r.old, r.new] for r in reasons]
    return rest


def _note(bench: Workbench, address: Address, drifts: list[ConfigDrift]) -> None:
    by_severity: dict[str, list[ConfigDrift]] = {}
    for drift in drifts:
        by_severity.setdefault(_severity(bench, drift), []).append(drift)
    for severity, some in sorted(by_severity.items()):
        why = "" if bench.heals or severity == "info" else "; selfHeal is false, so it stays so"
        bench.note(address, severity, CONFIG_DRIFTED, f"{describe_drifts(some)}{why}")


def _severity(bench: Workbench, drift: ConfigDrift) -> str:
    """Choose ``warning`` for what stays as it is, ``info`` for what comes right without a person."""
    if drift.remedy in {Remedy.ITSELF, Remedy.UNDER_WAY, Remedy.REBUILD}:
        return "info"
    later = bench.heals and drift.remedy in _BY_THE_ENGINE
    return "info" if later else "warning"
