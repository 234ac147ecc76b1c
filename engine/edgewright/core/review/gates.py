"""Gates that a change loosens, narrows or removes. Called by ``review``."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from edgewright.core.address import Address
from edgewright.core.gates import describe
from edgewright.core.review.findings import ReviewWarning
from edgewright.core.review.rollouts import successions
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.model import Model
from edgewright_schemas.thresholds import Gate

_EVERY = "*"


class _Key(NamedTuple):
    """Subject of a gate; gates with the same key all apply."""

    metric: str
    device_class: str | None
    column: str | None
    value: str | None


def gates_weakened(base: Snapshot, head: Snapshot) -> Iterator[ReviewWarning]:
    """Compare the gates of every model before and after, and those of thresholds no model uses."""
    pairs = {(a.name, a.name) for a in base.resources if a.kind == "thresholds" and a in head.resources}
    for was, name in sorted(_models(base, head)):
        before, after = base.model(was), head.model(name)
        if before is None or after is None or before.spec.thresholds is None:
            continue
        if after.spec.thresholds is None:
            yield _detached(head, Address("model", name), before)
        else:
            pairs.add((before.spec.thresholds, after.spec.thresholds))
    for old, new in sorted(pairs):
        yield from _compared(base, head, old, new)


def _models(base: Snapshot, head: Snapshot) -> set[tuple[str, str]]:
    """Pair models with themselves, and with those that rollouts would deliver in their place."""
    pairs = {(address.name, address.name) for address in base.resources if address.kind == "model"}
    return pairs | {(old.model, new.model) for _, old, new in successions(base, head)}


def _detached(head: Snapshot, address: Address, before: Model) -> ReviewWarning:
    same = address.name == before.metadata.name
    what = "no longer names" if same else f"takes the place of model/{before.metadata.name}, and does not name its"
    return ReviewWarning(
        "ThresholdsDetached",
        address,
        f"{what} thresholds/{before.spec.thresholds}: it would be rolled out without passing any gate",
        head.resources[address].location,
    )


def _compared(base: Snapshot, head: Snapshot, old: str, new: str) -> Iterator[ReviewWarning]:
    before, after = base.thresholds(old), head.thresholds(new)
    if before is None or after is None:
        return
    address = Address("thresholds", new)
    where = head.resources[address].location
    now = _merged(after.spec.gates)
    for key, gate in _merged(before.spec.gates).items():
        reason, message = _weakened(key, gate, now)
        if reason:
            yield ReviewWarning(reason, address, message, where)


def _weakened(key: _Key, gate: Gate, now: Mapping[_Key, Gate]) -> tuple[str, str]:
    """Describe how a gate is weaker than it was; empty when it is not."""
    covering = [now[k] for k in (key, key._replace(value=_EVERY)) if k in now]
    if not covering:
        narrower = [g for k, g in now.items() if _is_part_of(k, key)]
        if narrower:
            return "GateNarrowed", f"{describe(gate)} would hold only as {'; '.join(map(describe, narrower))}"
        return "GateRemoved", f"{describe(gate)} would no longer be asked for"
    strictest = _strictest(covering)
    if _lower(strictest.min, gate.min) or _higher(strictest.max, gate.max):
        return "GateLoosened", f"{describe(gate)} would become {describe(strictest)}"
    if _higher(strictest.max_degradation, gate.max_degradation):
        return "GateLoosened", f"{describe(gate)} would become {describe(strictest)}"
    if _lower(strictest.confidence, gate.confidence) or _lower(strictest.min_support, gate.min_support):
        return "GateLoosened", f"{describe(gate)} would become {describe(strictest)}"
    return "", ""


def _is_part_of(key: _Key, whole: _Key) -> bool:
    """Return whether a gate covers a part of what another one covered: a slice of all, or a value of every one."""
    if (key.metric, key.device_class) != (whole.metric, whole.device_class):
        return False
    return whole.column is None or (whole.value == _EVERY and key.column == whole.column)


def _merged(gates: Iterable[Gate]) -> dict[_Key, Gate]:
    found: dict[_Key, list[Gate]] = {}
    for gate in gates:
        column, value = next(iter(gate.slice.items())) if gate.slice else (None, None)
        found.setdefault(_Key(gate.metric, gate.device_class, column, value), []).append(gate)
    return {key: _strictest(same) for key, same in found.items()}


def _strictest(gates: list[Gate]) -> Gate:
    """Put gates about the same thing together: all must pass."""
    least = [gate.min for gate in gates if gate.min is not None]
    most = [gate.max for gate in gates if gate.max is not None]
    worse = [gate.max_degradation for gate in gates if gate.max_degradation is not None]
    sure = [gate.confidence for gate in gates if gate.confidence is not None]
    support = [gate.min_support for gate in gates if gate.min_support is not None]
    return gates[0].model_copy(
        update={
            "min_support": max(support, default=None),
            "confidence": max(sure, default=None),
            "min": max(least, default=None),
            "max": min(most, default=None),
            "max_degradation": min(worse, default=None),
            "against": "champion" if worse else None,
        }
    )


def _lower(new: float | None, old: float | None) -> bool:
    return old is not None and (new is None or new < old)


def _higher(new: float | None, old: float | None) -> bool:
    return old is not None and (new is None or new > old)
