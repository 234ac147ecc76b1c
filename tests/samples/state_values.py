"""Values for the state store's tests."""

from datetime import UTC, datetime, timedelta

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact, FileRef
from edgewright.core.facts import PackageFacts, TrainingFacts
from edgewright.core.rollout.state import (
    Controls,
    DeviceProgress,
    DeviceState,
    Hold,
    Phase,
    Rejection,
    Release,
    RolloutState,
)
from edgewright.core.status.conditions import Condition, ConditionType
from edgewright.ports import Event
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.messages import Assignment, Blob, ConfigFile, ModelAssignment, ModelReport, Report
from edgewright_wire.messages import Phase as DevicePhase

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ROLLOUT = Address("rollout", "price-tag-reader")
MODEL = Address("model", "price-tag-reader")


def digest(name: str) -> str:
    """A digest that stands for something."""
    return digest_bytes(name.encode())


TRAINED = TrainingFacts(
    epochs=3,
    best_epoch=2,
    metrics={"accuracy": 0.97, "loss": None},
    parameters=10,
    architecture="small-cnn",
    extra={"name": "Prüfung", "list": [1, 2.5, "x"]},
)
PACKAGED = PackageFacts(
    manifest_digest="sha256:" + "7" * 64, manifest_size=700, package_size=400_000, variant="int8", size_bytes=390_000
)


def an_artifact(name: str = "a", *, age: int = 0, action: Action = Action.TRAIN, address: Address = MODEL) -> Artifact:
    """An artifact with every field filled in; ``age`` in minutes."""
    return Artifact(
        fingerprint=digest(f"fingerprint {name}"),
        action=action,
        address=address,
        digest=digest(f"output {name}"),
        files={"weights.pt": FileRef(digest(f"weights {name}"), 123), "history.json": FileRef(digest(name), 0)},
        facts=PACKAGED if action is Action.PACKAGE else TRAINED,
        components={"spec.training.epochs": "3", "code": digest("code")},
        environment={"torch": "2.13.0"},
        created_at=NOW - timedelta(minutes=age),
        seconds=12.5 + age,
        inputs={"dataset": digest("fingerprint of the dataset")},
    )


def a_release(name: str = "r1", config: str | None = None) -> Release:
    """A release."""
    return Release(digest(f"release {name}"), digest(f"package {name}"), 700, 400_000, config)


def a_rollout(*devices: str, phase: Phase = Phase.ROLLING) -> RolloutState:
    """A rollout with every field filled in."""
    old, new = a_release("old"), a_release("new", digest("config"))
    return RolloutState(
        release=new,
        key="key",
        phase=phase,
        wave=1,
        wave_since=NOW,
        started_at=NOW,
        ended_at=NOW + timedelta(hours=1),
        devices={
            device: DeviceProgress(
                state=DeviceState.PROBING,
                since=NOW,
                assigned_at=NOW - timedelta(microseconds=1),
                after=4,
                confirmed=True,
                wave=-1,
                release=new,
                verified=old,
                reason="Probing",
                message="running “golden” samples",
                labels_digest=digest("labels"),
            )
            for device in devices
        },
        fleet_digest=digest("fleet"),
        controls=Controls(approved_before=2, paused=True, aborted=True),
        proven=a_release("proven"),
        held={"d": Hold("Conflict", "two fleets", digest("labels"))},
        waves=digest("waves"),
        rejected=(Rejection("key", old.fingerprint, old.package, NOW, "ProbeMismatch", "lane-3", "1 of 2 failed"),),
        reason="Rolling",
        message="wave 2 of 3",
    )


def an_assignment(device: str, version: int, name: str = "p", *, config: bool = False) -> Assignment:
    """An assignment of one model."""
    file = ConfigFile(digest=digest(f"config {name}"), size=10, path="lane.toml") if config else None
    package = Blob(digest=digest(f"package {name}"), size=700)
    model = ModelAssignment(model="price-tag-reader", package=package, release=digest(f"release {name}"), config=file)
    return Assignment(device=device, version=version, models=(model,))


def a_report(device: str, sequence: int, *, minutes: int = 0, phase: DevicePhase = DevicePhase.VERIFIED) -> Report:
    """A report sent so many minutes after NOW."""
    model = ModelReport(model="price-tag-reader", phase=phase, active=digest("package p"), verified=digest("package p"))
    return Report(
        device=device,
        sequence=sequence,
        sent_at=NOW + timedelta(minutes=minutes),
        agent_version="0.1.0",
        device_class="lane-camera",
        assignment_version=3,
        models=(model,),
    )


def conditions(reason: str, *, ready: bool = True) -> tuple[Condition, ...]:
    """A resource's three conditions."""
    types: tuple[tuple[ConditionType, bool], ...] = (("Ready", ready), ("Reconciling", not ready), ("Stalled", False))
    return tuple(Condition(type_, "True" if is_ else "False", reason, "…", "abc", NOW) for type_, is_ in types)


def an_event(number: int, address: Address = MODEL) -> Event:
    """An event, so many minutes after NOW."""
    return Event(NOW + timedelta(minutes=number), "StepDone", str(address), f"step {number}", {"n": number}, "rev")
