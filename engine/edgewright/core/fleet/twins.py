"""A device that does not run our agent, as the engine keeps it: what it is assigned, what it was seen to run, and the
job it is at. Pure; the drivers in ``delivery`` turn what a protocol says into these changes, and a twin into the report
that the device would send if it could.

A job brings one model of a device to what is assigned, and a device is at one job at a time. What is assigned meanwhile
calls off the job it replaces. Every change that people or rollouts would see raises the sequence of the report.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from edgewright.core.fleet.presence import ReceivedReport
from edgewright.core.fleet.routes import Proof
from edgewright_wire.messages import Assignment, ModelAssignment, ModelReport, Phase, ProbeResult, Report

HEARTBEAT = timedelta(seconds=30)
"""How much later a device has to be seen again for that to count as news."""
TRY_AGAIN = timedelta(minutes=10)
"""How long after a failure that passes by itself the same is tried again."""
CLOCK_NOT_SET = "ClockNotSet"
PASSING = frozenset({CLOCK_NOT_SET})
"""Reasons of failures that pass by themselves: they say nothing of the release."""
_MOST_WORDS = 2000


class Stage(StrEnum):
    """Progress of a job."""

    WAITING = "waiting"
    """The device has not been told yet."""
    OFFERED = "offered"
    FETCHING = "fetching"
    INSTALLING = "installing"
    CANCELLING = "cancelling"
    """It is no longer wanted; the device has still to say whether it stopped in time."""


@dataclass(frozen=True, slots=True)
class Job:
    """Job of a device: one model's target, and its progress."""

    number: int
    """Counts up on each device; never used twice."""
    model: str
    target: ModelAssignment | None
    """None: take the model off the device."""
    version: int
    """Of the assignment it serves."""
    stage: Stage
    since: datetime


@dataclass(frozen=True, slots=True)
class Failed:
    """A target that did not work out; it is not tried again under the same version."""

    target: ModelAssignment | None
    version: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ModelTwin:
    """One model on the device, as far as it was seen."""

    model: str
    installed: ModelAssignment | None = None
    """What is active, as was seen or said last; None: nothing of ours."""
    proof: Proof | None = None
    """What was shown of it."""
    probe: ProbeResult | None = None
    failed: Failed | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Twin:
    """One device."""

    device: str
    system: str
    """The driver that owns it."""
    assignment: Assignment | None = None
    taken: int = 0
    """Version of the newest assignment that the device has been told of, or needs not be told of."""
    sequence: int = 0
    last_seen: datetime | None = None
    jobs: int = 0
    """How many it was ever given."""
    job: Job | None = None
    models: tuple[ModelTwin, ...] = ()
    device_class: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the device or its update system says of it: attributes, inventory."""
    memo: Mapping[str, Any] = field(default_factory=dict)
    """The driver's own notes, JSON values; part of no report."""
    reason: str = ""
    message: str = ""
    """Why the device cannot be worked with, if so: as in Report.reason."""

    def model(self, name: str) -> ModelTwin:
        """Find a model; one that was never seen is empty."""
        return next((each for each in self.models if each.model == name), ModelTwin(name))


def assign(twin: Twin, assignment: Assignment, now: datetime) -> Twin:
    """Give a device a newer assignment; the same one again changes nothing.

    Raises:
        ValueError: A newer one, or another of this version, was assigned before.
    """
    before = twin.assignment
    if before == assignment:
        return twin
    if before is not None and assignment.version <= before.version:
        raise ValueError(f"device {twin.device}: version {before.version} is assigned already")
    return _call_off(replace(twin, assignment=assignment), now)


def demand_proof(twin: Twin) -> Twin:
    """Schedule what is installed but unproven for installation again, so that the device proves it."""
    owing = [each for each in twin.models if each.installed is not None and each.proof is not Proof.VERIFIED]
    for each in owing:
        twin = _with(twin, replace(each, installed=None, proof=None))
    return _told(twin) if owing else twin


def retire(twin: Twin, now: datetime) -> Twin:
    """Stop managing a device: nothing is wanted of it any more, what it runs stays. What it failed at is forgotten, so
    that one that comes back is given a new chance.
    """
    models = tuple(replace(each, failed=None) for each in twin.models)
    retired = replace(twin, assignment=None, models=models)
    return _call_off(retired if models == twin.models else _told(retired), now)


def cancel(twin: Twin, now: datetime) -> Twin:
    """Call off what is not installed yet, and try nothing of this assignment's again."""
    if twin.assignment is None:
        return twin
    changed = twin
    for target in twin.assignment.models:
        known = twin.model(target.model)
        if known.installed != target:
            failed = Failed(target, twin.assignment.version, "Cancelled", "cancelled before it was installed")
            changed = _with(changed, replace(known, failed=failed, since=now))
    return twin if changed == twin else _told(_call_off(changed, now, always=True))


def _call_off(twin: Twin, now: datetime, *, always: bool = False) -> Twin:
    """End or call off a job that what is assigned now does not ask for."""
    job = twin.job
    if job is None:
        return twin
    if twin.assignment is not None and _wanted(twin, job.model) == job.target and not always:
        return replace(twin, job=replace(job, version=twin.assignment.version))
    if job.stage is Stage.WAITING:
        return replace(twin, job=None)
    return replace(twin, job=replace(job, stage=Stage.CANCELLING, since=now))


def _wanted(twin: Twin, model: str) -> ModelAssignment | None:
    models = twin.assignment.models if twin.assignment is not None else ()
    return next((each for each in models if each.model == model), None)


def seen(twin: Twin, now: datetime, *, facts: Mapping[str, str] | None = None, device_class: str = "") -> Twin:
    """Note that a device was there: it takes up what it is assigned, and its next job."""
    changed = replace(
        twin,
        facts=twin.facts if facts is None else dict(facts),
        device_class=device_class or twin.device_class,
        taken=max(twin.taken, twin.assignment.version) if twin.assignment is not None else twin.taken,
        reason="",
        message="",
    )
    changed = next_job(changed, now)
    late = twin.last_seen is None or now - twin.last_seen >= HEARTBEAT
    if changed == twin and not late:
        return twin
    return _told(replace(changed, last_seen=now))


def with_problem(twin: Twin, reason: str, message: str) -> Twin:
    """Note that a device cannot be worked with, though it may be there: a wrong key, a foreign identity."""
    if (twin.reason, twin.message) == (reason, message[:_MOST_WORDS]):
        return twin
    return _told(replace(twin, reason=reason, message=message[:_MOST_WORDS]))


def _is_tried(known: ModelTwin, target: ModelAssignment | None, version: int, now: datetime) -> bool:
    """Return whether a target failed under this version, for a reason that does not pass by itself."""
    failed = known.failed
    if failed is None or failed.version != version or failed.target != target:
        return False
    return failed.reason not in PASSING or known.since is None or now < known.since + TRY_AGAIN


def next_job(twin: Twin, now: datetime) -> Twin:
    """Give a device that is at nothing the next thing to do, if there is any."""
    if twin.job is not None or twin.assignment is None:
        return twin
    version = twin.assignment.version
    wanted = {each.model: each for each in twin.assignment.models}
    here = {each.model for each in twin.models if each.installed is not None}
    for model in sorted(wanted.keys() | here):
        target, known = wanted.get(model), twin.model(model)
        if known.installed != target and not _is_tried(known, target, version, now):
            number = twin.jobs + 1
            return replace(twin, jobs=number, job=Job(number, model, target, version, Stage.WAITING, now))
    return twin


def move(twin: Twin, number: int, stage: Stage, now: datetime) -> Twin:
    """Note how far a device is with a job; one that it is not at, or that is cancelled, stays as it is."""
    job = twin.job
    if job is None or job.number != number or job.stage in {stage, Stage.CANCELLING}:
        return twin
    return _told(replace(twin, last_seen=now, job=replace(job, stage=stage, since=now)))


def succeed(twin: Twin, number: int, now: datetime, proof: Proof, probe: ProbeResult | None = None) -> Twin:
    """Note that a device has done a job, and what was shown of it. A job that it is not at changes nothing."""
    job = twin.job
    if job is None or job.number != number:
        return twin
    done = replace(twin, job=None, last_seen=now)
    failed = _given_up(twin, job)
    if job.target is not None:
        done = _with(done, ModelTwin(job.model, job.target, proof, probe, failed, since=now))
    elif failed is not None:
        done = _with(done, ModelTwin(job.model, failed=failed, since=now))
    else:
        done = replace(done, models=tuple(m for m in done.models if m.model != job.model))
    return _told(next_job(done, now))


def fail(twin: Twin, number: int, now: datetime, reason: str, message: str, probe: ProbeResult | None = None) -> Twin:
    """Note that a device could not do a job; what ran there before runs there still."""
    job = twin.job
    if job is None or job.number != number:
        return twin
    failed = _given_up(twin, job) or Failed(job.target, job.version, reason, message[:_MOST_WORDS])
    model = replace(twin.model(job.model), failed=failed, since=now, probe=probe or twin.model(job.model).probe)
    return _told(next_job(_with(replace(twin, job=None, last_seen=now), model), now))


def bring_back(twin: Twin, number: int, now: datetime, reason: str, message: str) -> Twin:
    """Note that a job failed on a device that may have switched: what runs there is not known any more, and the next
    job puts back what ran before. Where that was such a job itself, nothing more is tried.
    """
    job = twin.job
    if job is None or job.number != number:
        return twin
    if job.target is None:
        return fail(twin, number, now, reason, message)
    known, is_wanted = twin.model(job.model), _wanted(twin, job.model) == job.target
    failed = Failed(job.target, job.version, reason, message[:_MOST_WORDS]) if is_wanted else _given_up(twin, job)
    done = _with(replace(twin, job=None, last_seen=now), ModelTwin(job.model, failed=failed, since=now))
    if not is_wanted or known.installed == job.target:
        return _told(next_job(done, now))
    before = Job(twin.jobs + 1, job.model, known.installed, job.version, Stage.WAITING, now)
    return _told(replace(done, jobs=before.number, job=before))


def _given_up(twin: Twin, job: Job) -> Failed | None:
    """Return the known failure of the wanted target while a job for another one is open."""
    assignment, failed = twin.assignment, twin.model(job.model).failed
    if assignment is None or failed is None or _wanted(twin, job.model) == job.target:
        return None
    tried = failed.version == assignment.version and failed.target == _wanted(twin, job.model)
    return failed if tried else None


def explain(twin: Twin, model: str, version: int, reason: str, message: str, probe: ProbeResult | None = None) -> Twin:
    """Note why a model failed under a version of the assignment, where a device tells that later than the failure."""
    known = twin.model(model)
    if known.failed is None or known.failed.version != version:
        return twin
    failed = replace(known.failed, reason=reason, message=message[:_MOST_WORDS])
    if failed == known.failed:
        return twin
    return _told(_with(twin, replace(known, failed=failed, probe=probe or known.probe)))


def stopped(twin: Twin, number: int, now: datetime) -> Twin:
    """Note that a device has stopped a job that was cancelled, before it changed anything."""
    job = twin.job
    if job is None or job.number != number:
        return twin
    return _told(next_job(replace(twin, job=None, last_seen=now), now))


def found(twin: Twin, model: ModelTwin, now: datetime) -> Twin:
    """Note what a look at the device showed of a model, whatever was believed of it."""
    known = twin.model(model.model)
    same = (known.installed, known.proof) == (model.installed, model.proof)
    if same:
        return twin
    return _told(_with(replace(twin, last_seen=now), replace(model, failed=known.failed, since=now)))


def refute(twin: Twin, model: str, now: datetime, message: str) -> Twin:
    """Note that what a device said it had installed was not there when it was next looked for. What runs is not known;
    the same is not tried again under this version, for the device would say the same again.
    """
    known = twin.model(model)
    if known.installed is None or twin.assignment is None:
        return found(twin, ModelTwin(model), now)
    version, wanted, failed = twin.assignment.version, _wanted(twin, model), known.failed
    if failed is None or (failed.target, failed.version) != (wanted, version):
        failed = Failed(known.installed, version, "Contradiction", message[:_MOST_WORDS])
    return _told(_with(replace(twin, last_seen=now), ModelTwin(model, failed=failed, since=now)))


def _with(twin: Twin, model: ModelTwin) -> Twin:
    others = tuple(each for each in twin.models if each.model != model.model)
    return replace(twin, models=tuple(sorted((*others, model), key=lambda each: each.model)))


def _told(twin: Twin) -> Twin:
    return replace(twin, sequence=twin.sequence + 1)


# ── what the device would say ─────────────────────────────────────────────────────────────────────────────────


def report_of(twin: Twin, version: str) -> Report | None:
    """Build the report an agent would send for a device; None while it was never seen.

    Args:
        twin: The device.
        version: What stands in for it, like ``edgewright 0.1.0 ddi``.
    """
    if twin.last_seen is None or twin.sequence == 0:
        return None
    names = {each.model for each in twin.assignment.models} if twin.assignment else set()
    names |= {each.model for each in twin.models if each.installed is not None}
    return ReceivedReport(
        device=twin.device,
        sequence=twin.sequence,
        sent_at=twin.last_seen,
        received_at=twin.last_seen,
        agent_version=version,
        device_class=twin.device_class,
        assignment_version=twin.taken,
        models=tuple(_model_report(twin, name) for name in sorted(names)),
        reason=twin.reason,
        message=twin.message,
    )


_WORDS: Mapping[Stage, Phase] = {
    Stage.WAITING: Phase.IDLE,
    Stage.OFFERED: Phase.IDLE,
    Stage.FETCHING: Phase.FETCHING,
    Stage.INSTALLING: Phase.PROBING,
    Stage.CANCELLING: Phase.IDLE,
}


def _model_report(twin: Twin, name: str) -> ModelReport:
    known, target = twin.model(name), _wanted(twin, name)
    running = known.installed
    phase, reason, message = _phase(twin, known, target)
    package = running.package.digest if running is not None else None
    return ModelReport(
        model=name,
        phase=phase,
        release=target.release if target is not None else None,
        installed=package,
        active=package,
        active_release=running.release if running is not None else None,
        verified=package if known.proof is Proof.VERIFIED else None,
        reason=reason,
        message=message,
        probe=known.probe if phase in {Phase.VERIFIED, Phase.FAILED} else None,
        since=known.since,
    )


def _phase(twin: Twin, known: ModelTwin, target: ModelAssignment | None) -> tuple[Phase, str, str]:
    failed = known.failed
    if target is None:
        return Phase.IDLE, "", ""
    if known.installed == target:
        return (Phase.VERIFIED if known.proof is Proof.VERIFIED else Phase.INSTALLED), "", ""
    version = twin.assignment.version if twin.assignment is not None else 0
    if failed is not None and failed.target == target and failed.version == version:
        return Phase.FAILED, failed.reason, failed.message
    if twin.job is not None and twin.job.model == known.model and twin.job.target == target:
        return _WORDS[twin.job.stage], "", ""
    return Phase.IDLE, "", ""
