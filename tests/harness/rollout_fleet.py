"""A fleet that runs in memory: devices take assignments, fetch, probe, verify or refuse; used to prove rollouts.

It keeps its own record of what every device really verified, so that a test can tell a claim from a fact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from edgewright.core.rollout.machine import Advance, DeviceView, Goal, advance
from edgewright.core.rollout.state import Hold, Phase, Release, RolloutState
from edgewright_schemas.rollout import RolloutSpec
from edgewright_wire.messages import Phase as DevicePhase

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
STATE = TypeAdapter(RolloutState)


def release(name: str, *, config: str | None = None) -> Release:
    """Make a release whose fingerprint is its name."""
    return Release(fingerprint=name, package=f"package-{name}", manifest_size=500, package_size=100_000, config=config)


def rollout_spec(**fields: Any) -> RolloutSpec:
    """Make a rollout's spec from its YAML fields."""
    return RolloutSpec.model_validate({"model": "reader", "fleet": "stores", **fields})


def goal(spec: RolloutSpec, wanted: Release, *, key: str = "", fleet: str = "fleet-1", gates: Any = ()) -> Goal:
    """Make a goal; the key is the release's name unless given."""
    return Goal("reader", spec, wanted, key or wanted.fingerprint, fleet, tuple(gates))


@dataclass(slots=True)
class FakeDevice:
    """One device: what it is assigned, how far it is, and how it takes each release."""

    labels: dict[str, str] = field(default_factory=dict)
    online: bool = True
    refuses: dict[str, str] = field(default_factory=dict)
    """Releases it refuses, by fingerprint, with the reason it gives."""
    hangs: set[str] = field(default_factory=set)
    latency: float | None = 10.0
    version: int = 0
    """Of its newest assignment."""
    wanted: Release | None = None
    taken: int = 0
    target: str | None = None
    phase: DevicePhase = DevicePhase.IDLE
    active: str | None = None
    proven: list[tuple[int, str | None]] = field(default_factory=list)
    """Every (assignment version, release) it ran and verified."""
    held: Hold | None = None
    """Why it is held back, if it is."""
    view: DeviceView | None = None
    history: list[DeviceView] = field(default_factory=list)

    def work(self) -> None:
        """Go one step on with the newest assignment."""
        if self.taken != self.version:
            self.taken, self.target = self.version, self.wanted.fingerprint if self.wanted else None
            self.phase = DevicePhase.FETCHING
            if self.target == self.active or self.target is None:
                self._end()
            return
        if self.target in self.hangs or self.target is None:
            return
        if self.phase is DevicePhase.FETCHING:
            self.phase = DevicePhase.STAGED
        elif self.phase is DevicePhase.STAGED:
            self.phase = DevicePhase.PROBING
        elif self.phase is DevicePhase.PROBING:
            self._end()

    def _end(self) -> None:
        if self.target is not None and self.target in self.refuses:
            self.phase = DevicePhase.FAILED
            return
        self.active = self.target
        self.phase = DevicePhase.IDLE if self.target is None else DevicePhase.VERIFIED
        self.proven.append((self.taken, self.target))

    def lose(self) -> None:
        """Forget the active release, as after a broken disk."""
        self.active, self.phase = None, DevicePhase.FAILED
        self.refuses |= {self.target: "Broken"} if self.target else {}

    def report(self, now: datetime) -> None:
        """Tell the engine how things are."""
        self.view = DeviceView(
            labels=dict(self.labels),
            labels_digest=repr(sorted(self.labels.items())),
            device_class=self.labels.get("class", ""),
            last_seen=now,
            taken=self.taken,
            phase=self.phase,
            release=self.target,
            active_release=self.active,
            verified=self.active is not None and self.phase is not DevicePhase.FAILED,
            reason=self.refuses.get(self.target or "", "") if self.phase is DevicePhase.FAILED else "",
            latency_p95_ms=self.latency,
        )
        self.history.append(self.view)

    def seen(self) -> DeviceView:
        """Give what the engine knows of the device now."""
        digest = repr(sorted(self.labels.items()))
        base = self.view or DeviceView(labels={}, device_class=self.labels.get("class", ""))
        return replace(base, labels=dict(self.labels), labels_digest=digest, assignment=self.version, held=self.held)


class FakeFleet:
    """Devices, the time, and the engine's stored state, which is written and read again at every pass."""

    def __init__(self, devices: Mapping[str, Mapping[str, str]] | Iterable[str]) -> None:
        labels = devices if isinstance(devices, Mapping) else {device: {} for device in devices}
        self.devices = {device: FakeDevice(labels=dict(its)) for device, its in labels.items()}
        self.now = START
        self.state = RolloutState()
        self.log: list[tuple[str, str | None]] = []
        """Every assignment made: device and release."""
        self.reasons: list[str] = []
        self.said: list[str] = []
        """Reasons of every event."""

    def views(self) -> dict[str, DeviceView]:
        """Give what the engine knows of the fleet."""
        return {name: device.seen() for name, device in self.devices.items()}

    def report(self) -> None:
        """Have every online device report."""
        for device in self.devices.values():
            if device.online:
                device.report(self.now)

    def work(self) -> None:
        """Have every online device go a step on, and report."""
        for device in self.devices.values():
            if device.online:
                device.work()
        self.report()

    def decide(self, wanted: Goal) -> Advance:
        """Run one pass of the engine, through its stored form, and hand its assignments out."""
        stored = STATE.validate_json(STATE.dump_json(self.state))
        result = advance(stored, wanted, self.views(), self.now)
        self.state = result.state
        for device, assigned in result.assign:
            self.devices[device].version += 1
            self.devices[device].wanted = assigned
            self.log.append((device, assigned.fingerprint if assigned else None))
        self.reasons += [event.reason for event in result.events]
        self.said += [event.message for event in result.events]
        return result

    def step(self, wanted: Goal, minutes: float = 1) -> Advance:
        """Let time pass, devices work and report, and the engine decide."""
        self.now += timedelta(minutes=minutes)
        self.work()
        return self.decide(wanted)

    def run(self, wanted: Goal, steps: int = 40, minutes: float = 1) -> Advance:
        """Repeat ``step``."""
        self.report()
        result = self.decide(wanted)
        for _ in range(steps):
            result = self.step(wanted, minutes)
        return result

    def states(self) -> dict[str, str]:
        """Give each device's state in the rollout."""
        return {device: progress.state.value for device, progress in self.state.devices.items()}

    def active(self) -> dict[str, str | None]:
        """Give what each device really runs."""
        return {name: device.active for name, device in self.devices.items()}


CANARY = {"select": {"matchLabels": {"ring": "canary"}}}
RELEASE_A, RELEASE_B, RELEASE_C = release("A"), release("B"), release("C")


def twelve() -> FakeFleet:
    """Make a fleet of twelve devices, one of them the canary, in four stores."""
    return FakeFleet({f"d{i:02}": {"ring": "canary" if i == 0 else "wide", "store": str(i % 4)} for i in range(12)})


def verified(fleet: FakeFleet) -> int:
    """Count the verified devices."""
    return sum(state == "verified" for state in fleet.states().values())


def phase(fleet: FakeFleet) -> Phase:
    """Return the rollout's phase."""
    return fleet.state.phase


def bring(fleet: FakeFleet, wanted: Goal) -> FakeFleet:
    """Bring a release to the whole fleet."""
    fleet.run(wanted, 60)
    assert phase(fleet) is Phase.SUCCEEDED, fleet.state.reason
    fleet.log.clear()
    fleet.reasons.clear()
    return fleet
