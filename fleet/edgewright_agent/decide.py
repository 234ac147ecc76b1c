"""Decision of an agent's next action. Pure: values in, one action out.

``agent`` observes the device, asks ``decide``, performs the one action, persists what came of it, and asks again.
Every action may be cut short anywhere; the next observation then leads to the same end.

Per model, the order is: fetch → stage into the idle slot → probe there → switch → verify where it is active. A release
whose probe or verification failed is not tried again until its assignment changes; what was verified last stays, or
becomes, active.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgewright_agent.models.packages import Package, problem_of, wanted_blobs
from edgewright_wire.messages import Assignment, Blob, ModelAssignment, ProbeResult
from edgewright_wire.slots import Slot, idle_slot


@dataclass(frozen=True, slots=True)
class Failure:
    """A release that failed on this device for good."""

    target: ModelAssignment
    version: int
    """Version of the assignment that asked for it."""
    reason: str
    message: str
    probe: ProbeResult | None = None


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model on the device, as observed."""

    name: str
    active: Slot | None = None
    """Where the active pointer leads."""
    slots: Mapping[Slot, ModelAssignment | None] = field(default_factory=dict)
    """What each slot holds whole."""
    probed: ModelAssignment | None = None
    """What passed its probe last, in an idle slot; nothing as soon as a slot is filled anew."""
    verified: ModelAssignment | None = None
    """What was verified last, where it was active."""
    failure: Failure | None = None
    retry_at: float = 0.0
    """When to try again after something that may pass by itself."""

    def holds(self, slot: Slot | None) -> ModelAssignment | None:
        """Return the assignment that a slot holds."""
        return self.slots.get(slot) if slot is not None else None

    @property
    def running(self) -> ModelAssignment | None:
        """The assignment in the active slot."""
        return self.holds(self.active)

    @property
    def idle(self) -> Slot:
        """The slot that may be written."""
        return idle_slot(self.active)

    def failed(self, target: ModelAssignment, version: int) -> bool:
        """Return whether a target failed under this version of the assignment."""
        return self.failure is not None and (self.failure.target, self.failure.version) == (target, version)


@dataclass(frozen=True, slots=True)
class DeviceView:
    """The device, as observed. Times are seconds of one monotonic clock."""

    device: str
    accepted: Assignment | None = None
    models: Mapping[str, ModelView] = field(default_factory=dict)
    packages: Mapping[str, Package] = field(default_factory=dict)
    """Manifests at hand, by digest."""
    blobs: frozenset[str] = frozenset()
    """Digests of blobs at hand, whole or begun, manifests among them."""
    whole: frozenset[str] = frozenset()
    """Those of them that are whole."""
    poll_at: float = 0.0
    report_at: float = 0.0
    """When the next report is due; in the past as soon as there is something new to say."""
    clean_at: float = 0.0
    """When blobs may be cleaned up."""
    fetch_at: float = 0.0
    """When blobs may be fetched (again): bandwidth, and a window of the day."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Take up a newer assignment."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask the repository for the newest assignment."""


@dataclass(frozen=True, slots=True)
class FetchManifest:
    """Fetch a package's manifest, verified by TUF."""

    model: str
    package: Blob


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch (more of) a blob."""

    model: str
    blob: Blob


@dataclass(frozen=True, slots=True)
class Stage:
    """Fill the idle slot."""

    target: ModelAssignment
    slot: Slot


@dataclass(frozen=True, slots=True)
class Probe:
    """Run the golden samples of what the idle slot holds."""

    target: ModelAssignment
    slot: Slot


@dataclass(frozen=True, slots=True)
class Switch:
    """Make a slot active."""

    target: ModelAssignment
    slot: Slot


@dataclass(frozen=True, slots=True)
class Verify:
    """Run the golden samples of what is active, the way the application does."""

    target: ModelAssignment


@dataclass(frozen=True, slots=True)
class Reject:
    """Remember that a target cannot be taken."""

    target: ModelAssignment
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Make no slot active: what was active failed, and nothing was ever verified."""

    model: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a model that is not assigned any more."""

    model: str


@dataclass(frozen=True, slots=True)
class Clean:
    """Forget blobs that nothing refers to; slots keep their own names for their files."""

    digests: frozenset[str]


@dataclass(frozen=True, slots=True)
class Report:
    """Send a report."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait: nothing is due for this many seconds."""

    seconds: float


Action = (
    Accept
    | Poll
    | FetchManifest
    | Fetch
    | Stage
    | Probe
    | Switch
    | Verify
    | Reject
    | Deactivate
    | Remove
    | Clean
    | Report
    | Sleep
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason and message of an assignment that is refused."""

    reason: str
    message: str


def consider(device: str, accepted: Assignment | None, offered: Assignment) -> Refusal | None:
    """Judge an offered assignment against the last accepted one; None when it may be taken up (or is the same)."""
    if offered.device != device:
        return Refusal("WrongDevice", f"the assignment is for {offered.device}, this device is {device}")
    names = [model.model for model in offered.models]
    if len(set(names)) != len(names):
        return Refusal("InvalidAssignment", f"assignment {offered.version} names a model twice")
    if accepted is None or offered.version > accepted.version or offered == accepted:
        return None
    if offered.version < accepted.version:
        return Refusal(
            "AssignmentRollback", f"assignment {offered.version} is older than {accepted.version}, which was accepted"
        )
    return Refusal("AssignmentConflict", f"assignment {offered.version} differs from the one accepted as this version")


def decide(device: DeviceView, offered: Assignment | None, now: float) -> Action:
    """Choose the one next action.

    Args:
        device: What is so.
        offered: The newest assignment the repository showed, if any.
        now: Seconds of the clock the view's times are in.
    """
    if action := next(_unproven(device, now), None):
        return action
    if device.report_at <= now:
        return Report()
    if offered is not None and _newer(device, offered):
        return Accept(offered)
    if device.poll_at <= now:
        return Poll()
    if action := next(_work(device, now), None):
        return action
    return _rest(device, now)


def _newer(device: DeviceView, offered: Assignment) -> bool:
    accepted = device.accepted
    return consider(device.device, accepted, offered) is None and (
        accepted is None or offered.version > accepted.version
    )


def _unproven(device: DeviceView, now: float) -> Iterator[Action]:
    """Settle first what serves inference without having been verified there; bring back what was, if nothing serves."""
    assigned = device.accepted.models if device.accepted is not None else ()
    for model in device.models.values():
        running = model.running
        if model.retry_at > now or (running is not None and running == model.verified):
            continue
        failed = model.failure.target if model.failure is not None else None
        if running is not None and running != failed:
            yield Verify(running)
        elif (good := _good(model, failed)) is not None and (running is not None or good.target not in assigned):
            yield good
        elif running is not None:
            yield Deactivate(model.name)


def _good(model: ModelView, failed: ModelAssignment | None) -> Switch | None:
    """Find the way back to what was verified last."""
    verified = model.verified
    if verified is None or verified == failed:
        return None
    return next((Switch(verified, slot) for slot in Slot if model.holds(slot) == verified), None)


def _work(device: DeviceView, now: float) -> Iterator[Action]:
    """One action per model that has something to do; a model that waits holds up no other."""
    if device.accepted is None:
        return
    assigned = {target.model for target in device.accepted.models}
    for name, model in device.models.items():
        if name not in assigned and model.retry_at <= now:
            yield Remove(name)
    for action in _advances(device, now):
        if not isinstance(action, Fetch) or device.fetch_at <= now:
            yield action


def held_up(device: DeviceView, now: float) -> frozenset[str]:
    """Models that could go on if only blobs might be fetched now."""
    if device.fetch_at <= now:
        return frozenset()
    return frozenset(action.model for action in _advances(device, now) if isinstance(action, Fetch))


def _advances(device: DeviceView, now: float) -> Iterator[Action]:
    """The next action of each assigned model that has one."""
    if device.accepted is None:
        return
    for target in device.accepted.models:
        model = device.models.get(target.model, ModelView(target.model))
        if model.running == target or model.failed(target, device.accepted.version) or model.retry_at > now:
            continue
        yield advance(device, model, target)


def advance(
    device: DeviceView, model: ModelView, target: ModelAssignment
) -> FetchManifest | Fetch | Stage | Probe | Switch | Reject:
    """Choose the next action towards a target that does not run yet."""
    slot = model.idle
    if model.holds(slot) == target:
        return Switch(target, slot) if model.probed == target else Probe(target, slot)
    package = device.packages.get(target.package.digest)
    if package is None:
        return FetchManifest(target.model, target.package)
    if problem := problem_of(target, package):
        return Reject(target, "InvalidPackage", problem)
    for blob in wanted_blobs(target, package):
        if blob.digest not in device.whole:
            return Fetch(target.model, blob)
    return Stage(target, slot)


def _rest(device: DeviceView, now: float) -> Action:
    waiting = [model.retry_at for model in device.models.values() if model.retry_at > now]
    if not waiting and device.clean_at <= now and (unused := garbage(device)):
        return Clean(unused)
    due = [device.poll_at, device.report_at, *waiting]
    if held_up(device, now):
        due.append(device.fetch_at)
    return Sleep(max(0.0, min(due) - now))


def garbage(device: DeviceView) -> frozenset[str]:
    """Digests of blobs that neither a slot nor the assignment refers to."""
    targets = [held for model in device.models.values() for held in model.slots.values() if held is not None]
    if device.accepted is not None:
        targets.extend(device.accepted.models)
    referenced: set[str] = set()
    for target in targets:
        referenced.add(target.package.digest)
        package = device.packages.get(target.package.digest, Package(()))
        referenced.update(blob.digest for blob in wanted_blobs(target, package))
    return device.blobs - referenced
