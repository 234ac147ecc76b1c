"""From package to devices: which delivery steps rollouts need."""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.config_drift import CONFIG_DRIFTED
from edgewright.core.facts import PackageFacts
from edgewright.core.fleet.membership import members, membership_digest
from edgewright.core.fleet.routes import Proof, delivery_of
from edgewright.core.planning.builds import ModelNodes
from edgewright.core.planning.fingerprint import config_digest, release_fingerprint
from edgewright.core.planning.plan import AdvanceWave, Publish, Reason, Rollback, StartRollout, WavePlan
from edgewright.core.planning.proofs import note_slow_proofs
from edgewright.core.planning.workbench import Workbench
from edgewright.core.rollout.state import ENDED, IN_FLIGHT, PROVED, DeviceState, Phase, Release, RolloutSummary
from edgewright.core.rollout.waves import plan_waves
from edgewright.core.rollout.windows import in_window
from edgewright_schemas.fleet import Fleet
from edgewright_schemas.rollout import Rollout
from edgewright_wire.canonical import digest_json

_RESTARTING = {"waves", "fleet", "model", "max_unavailable", "success", "on_failure"}
"""Fields whose change may turn a rejected release into an acceptable one."""
_PATIENCE: dict[str, Any] = {"mender_server": {"inventory_interval": True}}
_WAITING: dict[str, Any] = {"delivery": _PATIENCE, "overrides": {"__all__": {"delivery": _PATIENCE}}}
"""Fields of a fleet that say how long is waited: they change nothing of what is rolled out."""
_MEMBERSHIP = {"selector": True, "inventory": True}
"""Fields of a fleet that say which devices belong to it."""


@dataclass(frozen=True, slots=True)
class RolloutTarget:
    """Target of a rollout: its release and fleet."""

    rollout: Rollout
    fleet: Fleet
    release: Release | None
    """None while the package is unknown."""
    fleet_digest: str
    """Of the devices' ids and labels."""
    key: str | None
    """Over the release and what of the specs should start the rollout over. The devices are no part of it: one that
    joins or leaves undoes nothing that people decided, and nothing that failed."""
    earlier_keys: tuple[str, ...] = ()
    """Keys that earlier versions gave the same."""

    @property
    def failure_key(self) -> str | None:
        """Key of a failure to assign: other devices, or other labels, may mend it."""
        return digest_json([self.key, self.fleet_digest]) if self.key is not None else None


def release_of(artifact: Artifact, config: str | None) -> Release:
    """Describe a package as a release.

    Args:
        artifact: The package.
        config: The digest of the device configuration that goes with it, where there is one.

    Raises:
        StateError: The package's facts are incomplete.
    """
    package, digest = artifact.facts_as(PackageFacts), artifact.digest
    return Release(
        fingerprint=release_fingerprint(digest, config),
        package=digest,
        manifest_size=package.manifest_size,
        package_size=package.package_size,
        config=config,
    )


def target_of(bench: Workbench, rollout: Rollout, fleet: Fleet, nodes: ModelNodes) -> RolloutTarget:
    """Compute the target of a rollout, as far as it is known."""
    membership = membership_digest(bench.desired, fleet, bench.observed.enrolled_digest)
    artifact = nodes.package.artifact
    if artifact is None:
        return RolloutTarget(rollout, fleet, None, membership, None)
    release = release_of(artifact, config_digest(fleet.spec, bench.desired.content))
    specs = {
        "release": release.fingerprint,
        "rollout": rollout.spec.model_dump(mode="json", by_alias=True, include=_RESTARTING),
        "fleet": fleet_part(fleet, whole=False),
    }
    summary = bench.observed.rollouts.get(Address("rollout", rollout.metadata.name))
    earlier = _earlier_keys(specs, fleet, {membership, summary.fleet_digest if summary else membership})
    return RolloutTarget(rollout, fleet, release, membership, digest_json(specs), earlier)


def fleet_part(fleet: Fleet, *, whole: bool) -> dict[str, Any]:
    """Return what of a fleet is part of a rollout's key; ``whole`` with what says which devices belong to it."""
    return fleet.spec.model_dump(mode="json", by_alias=True, exclude=_WAITING if whole else {**_MEMBERSHIP, **_WAITING})


def _earlier_keys(specs: Mapping[str, object], fleet: Fleet, memberships: Set[str]) -> tuple[str, ...]:
    """Compute the keys of versions that started a rollout over when a device joined or left."""
    whole = {**specs, "fleet": fleet_part(fleet, whole=True)}
    found = memberships if fleet.spec.selector is None else {""}
    return tuple(sorted(digest_json({**whole, "inventory": inventory}) for inventory in found))


def plan_publish(bench: Workbench, name: str, nodes: ModelNodes) -> str | None:
    """Plan publishing a model's package, unless devices can fetch it already. Returns the step's id."""
    package = nodes.package
    if package.blocked:
        return None
    address = Address("model", name)
    artifact = package.artifact
    reason = Reason("package", None, artifact.digest if artifact else None)
    if artifact is not None:
        out = artifact.digest in bench.observed.published
        bench.consulted[f"published {artifact.digest}"] = out
        if out:
            return None
        if not bench.heals and (lost := _lost(bench, artifact.digest)):
            short = _short(artifact.digest)
            message = f"expected package {short} published whole, found {lost}; selfHeal is false, so it stays so"
            bench.note(address, "warning", CONFIG_DRIFTED, message)
            return None
        if package.lost:
            return None
        if artifact.digest in bench.observed.damaged:
            reason = Reason("package", bench.observed.damaged[artifact.digest], artifact.digest)
    step = Publish(
        address=address,
        needs=(package.step,) if package.step else (),
        reasons=(reason,),
        package=artifact.digest if artifact else None,
        package_fingerprint=package.fingerprint,
        bytes=artifact.facts_as(PackageFacts).package_size if artifact else None,
    )
    bench.steps.append(step)
    return f"publish {address}"


def _lost(bench: Workbench, package: str) -> str:
    """Describe the damage of a package that was published before; empty for one that never was."""
    if problem := bench.observed.damaged.get(package):
        return problem
    released = {summary.release.package for summary in bench.observed.rollouts.values() if summary.release}
    return "nothing" if package in released else ""


def plan_rollout(bench: Workbench, target: RolloutTarget, nodes: ModelNodes, publish: str | None) -> None:
    """Plan what one rollout needs now, or note what it waits for."""
    address = Address("rollout", target.rollout.metadata.name)
    summary = bench.observed.rollouts.get(address)
    bench.consulted[str(address)] = _standing(summary)
    if summary and summary.phase is Phase.RETURNING and summary.release:
        left = sum(summary.counts.get(state, 0) for state in IN_FLIGHT)
        bench.steps.append(Rollback(address=address, release=summary.release, devices=left))
        return
    if nodes.package.blocked:
        bench.note(address, "info", "ModelBlocked", f"model/{target.rollout.spec.model} has no new package to roll out")
        _resume(bench, address, target, summary)
        return
    if target.release is None or target.key is None:
        _start(bench, address, target, summary, publish)
        return
    keys = {target.key, *target.earlier_keys}
    if rejection := next((r for r in summary.rejected if r.key in keys), None) if summary else None:
        why = rejection.message or rejection.reason
        bench.note(
            address,
            "blocked",
            "ReleaseRejected",
            f"package {_short(rejection.package)} was rejected at {rejection.at:%Y-%m-%d %H:%M} UTC and is not tried "
            f"again until the spec changes: {why}",
        )
    elif _settled(target, summary):
        _note_deferred(bench, address, summary)
        _note_failed(bench, address, summary)
    elif summary and summary.key in keys and summary.phase not in ENDED:
        _resume(bench, address, target, summary)
    elif target.rollout.spec.suspend:
        bench.note(address, "waiting", "Suspended", "spec.suspend is true: nothing is assigned")
    elif failure := _failure(bench, target):
        bench.consulted[f"failure {target.key}"] = failure
        bench.note(address, "blocked", "StepFailed", f"nothing is assigned: {failure}")
    else:
        _start(bench, address, target, summary, publish)


def _failure(bench: Workbench, target: RolloutTarget) -> str | None:
    keys = (target.failure_key, *target.earlier_keys)
    return next((found for key in keys if key and (found := bench.observed.failures.get(key))), None)


def _standing(summary: RolloutSummary | None) -> object:
    """Return what of a rollout makes an older plan stale: not the progress of single devices."""
    if summary is None:
        return None
    return [summary.phase, summary.key, summary.fleet_digest, summary.paused, [r.key for r in summary.rejected]]


def _settled(target: RolloutTarget, summary: RolloutSummary | None) -> bool:
    return (
        summary is not None
        and summary.phase is Phase.SUCCEEDED
        and summary.release is not None
        and target.release is not None
        and summary.release.fingerprint == target.release.fingerprint
        and summary.fleet_digest == target.fleet_digest
    )


def _note_deferred(bench: Workbench, address: Address, summary: RolloutSummary | None) -> None:
    deferred = summary.counts.get(DeviceState.DEFERRED, 0) if summary else 0
    if deferred:
        bench.note(
            address, "info", "Deferred", f"offline devices, {deferred} in all, catch up by themselves when they return"
        )


def _note_failed(bench: Workbench, address: Address, summary: RolloutSummary | None) -> None:
    """Note devices that lost what they had verified; a full scan names them, and repairs them."""
    failed = summary.counts.get(DeviceState.FAILED, 0) if summary else 0
    if failed and all(drift.address != address for drift in bench.observed.drift):
        devices = "1 device does" if failed == 1 else f"{failed:,} devices do"
        what = (
            "the next scan for config drift repairs what it can" if bench.heals else "selfHeal is false, so it stays so"
        )
        severity = "info" if bench.heals else "warning"
        bench.note(address, severity, CONFIG_DRIFTED, f"{devices} not run what was verified there; {what}")


def _resume(bench: Workbench, address: Address, target: RolloutTarget, summary: RolloutSummary | None) -> None:
    """Go on with what is under way, or say what it waits for."""
    if summary is None or summary.release is None or summary.phase in ENDED:
        return
    spec = target.rollout.spec
    name = target.rollout.metadata.name
    wave = summary.wave + 1
    if summary.requested is not None and summary.requested.aborted:
        touched = sum(n for state, n in summary.counts.items() if state is not DeviceState.PENDING)
        bench.steps.append(Rollback(address=address, release=summary.release, devices=touched))
    elif summary.requested is not None and summary.requested.paused:
        bench.note(
            address, "waiting", "Pausing", "a pause was asked for: devices under way finish, nothing more starts"
        )
    elif summary.requested is not None:
        _advance(bench, address, target, summary)
    elif spec.suspend and not _in_flight(summary):
        bench.note(address, "waiting", "Suspended", "spec.suspend is true: nothing more is assigned")
    elif summary.phase is Phase.PAUSED or (summary.paused and not _in_flight(summary)):
        bench.note(
            address,
            "waiting",
            "Paused",
            f"{summary.message or 'paused'}; go on with: edgewright rollout resume {name}",
        )
    elif summary.phase is Phase.AWAITING_APPROVAL and summary.approved_before < wave:
        bench.note(
            address,
            "waiting",
            "AwaitingApproval",
            f"wave {wave} needs a person's yes: edgewright rollout approve {name}",
        )
    elif summary.phase is Phase.WAITING and spec.window and not (window := in_window(spec.window, bench.now)).open:
        opens = f"the next opens at {window.until:%Y-%m-%d %H:%M %Z}" if window.until else "none will ever open"
        bench.note(address, "waiting", "OutsideWindow", f"waves start in the window only, and {opens}")
    else:
        _advance(bench, address, target, summary)


def _advance(bench: Workbench, address: Address, target: RolloutTarget, summary: RolloutSummary) -> None:
    assert summary.release is not None
    bench.steps.append(
        AdvanceWave(
            address=address,
            release=summary.release,
            key=summary.key,
            wave=summary.wave + 1,
            waves=len(target.rollout.spec.waves),
            devices=sum(n for state, n in summary.counts.items() if state not in PROVED),
        )
    )


def _in_flight(summary: RolloutSummary) -> int:
    return sum(summary.counts.get(state, 0) for state in IN_FLIGHT)


def _start(
    bench: Workbench, address: Address, target: RolloutTarget, summary: RolloutSummary | None, needs: str | None
) -> None:
    before = summary.release if summary and summary.phase is Phase.SUCCEEDED else None
    release = target.release
    same_package = bool(before and release and before.package == release.package)
    same_release = bool(before and release and before.fingerprint == release.fingerprint)
    if same_release:
        reasons = (Reason("fleet", "devices changed", None),)
    elif same_package:
        reasons = (Reason("config", before.config if before else None, release.config if release else None),)
    else:
        reasons = (Reason("package", before.package if before else None, release.package if release else None),)
    size = release.package_size + release.manifest_size if release and not same_release else None
    config_only = same_package and not same_release
    last = before.package_size + before.manifest_size if before and not same_release else 0
    waves = tuple(_preview(bench, target, 0 if config_only else size, last))
    bench.steps.append(
        StartRollout(
            address=address,
            needs=(needs,) if needs else (),
            reasons=reasons,
            release=release,
            key=target.key,
            waves=waves,
            config_only=config_only,
        )
    )
    if summary is not None and not _keeps(summary, release):
        _note_pause(bench, address, summary)
    note_slow_proofs(bench, address, target.rollout.spec, target.fleet)


def _keeps(summary: RolloutSummary, release: Release | None) -> bool:
    """Return whether what people decided of the release before holds for this one."""
    return bool(summary.release and release and summary.release.fingerprint == release.fingerprint)


def _note_pause(bench: Workbench, address: Address, summary: RolloutSummary) -> None:
    """Warn of a pause that ends with the release it was made for."""
    if summary.phase in ENDED or not (summary.paused or (summary.requested and summary.requested.paused)):
        return
    package = f"package {_short(summary.release.package)}" if summary.release else "a release"
    bench.note(
        address,
        "warning",
        "Paused",
        f"the pause was made for {package} and ends with it: the new release starts. Set spec.suspend: true to hold it",
    )


def _preview(bench: Workbench, target: RolloutTarget, size: int | None, last: int) -> Iterable[WavePlan]:
    """Describe the waves.

    ``size`` is what each device fetches, None where that is not known; ``last`` what it was, 0 where nobody knows.
    """
    spec = target.rollout.spec
    devices = members(bench.desired, target.fleet, bench.observed.enrolled)
    approval = spec.approval.before_wave if spec.approval else None
    for number, (wave, ids) in enumerate(
        zip(spec.waves, plan_waves(target.rollout.metadata.name, spec, devices), strict=True), start=1
    ):
        what = (
            ", ".join(f"{k}={v}" for k, v in wave.select.match_labels.items()) if wave.select else f"{wave.percent:g} %"
        )
        bench.touched.update(ids)
        ways = [delivery_of(target.fleet, devices[id_]) for id_ in ids]
        systems = Counter(way.type for way in ways)
        yield WavePlan(
            name=f"{number}: {what}",
            devices=len(ids),
            bytes=None if size is None else size * len(ids),
            soak_seconds=wave.soak.total_seconds(),
            approval=approval == number,
            likely_bytes=last * len(ids) if size is None and last else None,
            systems=dict(sorted(systems.items())) if systems.keys() - {"agent"} else {},
            unproved=sum(Proof(way.proves) is Proof.INSTALLED for way in ways),
        )


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
