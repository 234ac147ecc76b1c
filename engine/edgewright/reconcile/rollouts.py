"""Drives rollouts: what devices said goes into the pure state machine, what it decides becomes assignments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from edgewright.core.address import Address
from edgewright.core.facts import PackageFacts
from edgewright.core.fleet.conflicts import CONFLICT, DeviceConflict, find_conflicts
from edgewright.core.fleet.duplicates import DUPLICATE, DuplicateMemory
from edgewright.core.fleet.membership import declared, members
from edgewright.core.fleet.presence import last_seen
from edgewright.core.fleet.routes import Proof
from edgewright.core.gates import device_gates
from edgewright.core.planning.observed import Champion
from edgewright.core.planning.rollouts import RolloutTarget
from edgewright.core.rollout.controls import take_up
from edgewright.core.rollout.devices import DEADLINE_EXCEEDED, fail_return, same_release
from edgewright.core.rollout.goal import Advance, DeviceView, Goal, RolloutEvent, view_device
from edgewright.core.rollout.holds import CONFIG_FAILED, hold_back
from edgewright.core.rollout.machine import advance
from edgewright.core.rollout.state import Phase, Release, RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.errors import StepFailed
from edgewright.ports import DeliveryReader, DeviceWriter, Event
from edgewright.reconcile.device_configs import Configurator
from edgewright.reconcile.run import RunContext
from edgewright_schemas.thresholds import Gate
from edgewright_wire.canonical import digest_json
from edgewright_wire.messages import Assignment, Blob, ConfigFile, ModelAssignment

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RolloutDriver:
    """Advances rollouts, and turns their decisions into assignments."""

    context: RunContext
    configurator: Configurator
    delivery: DeliveryReader
    device_writer: DeviceWriter
    duplicates: DuplicateMemory = field(default_factory=DuplicateMemory)

    def advance(self, desired: Snapshot, address: Address, target: RolloutTarget) -> datetime | None:
        """Move one rollout on by what is known now.

        Returns:
            When time alone will change something; None when only reports or people can.

        Raises:
            StepFailed: A device's configuration cannot be rendered; nothing was assigned.
            LeaseLost, StorageFull: As ports.StateWriter.
        """
        stored = self.context.reader.rollout(address) or RolloutState()
        requested = self.context.reader.requested_controls().get(address)
        state, drops = take_up(stored, requested) if requested else (stored, ())
        goal = _goal(desired, target, state)
        if goal is None:
            return None
        if goal.release.config is not None:
            self.configurator.keep(desired, target.fleet, goal.release.config)
        enrolled = self.context.reader.enrolled()
        labels = members(desired, target.fleet, enrolled)
        held = _conflicts_of(address, find_conflicts(desired, enrolled))
        model = target.rollout.spec.model
        now = self.context.clock()
        views = _hold(self._views(model, labels, goal), state, goal, held)
        views = self._hold_duplicates(views, state, goal)
        result = advance(state, goal, views, now)
        if result.state == stored and not result.assign and not requested:
            return result.wake_at
        self._call_off(stored, result)
        try:
            assignments = self._assignments(result.assign, target, labels)
        except StepFailed as error:
            failed = self._unrenderable(error, result.assign, desired, target, labels)
            result = _without(advance(state, goal, hold_back(views, CONFIG_FAILED, failed), now), failed, now)
            assignments = self._assignments(result.assign, target, labels)
        events = [_event(event, now, address, desired) for event in (*drops, *result.events)]
        self.context.writer.save_rollout_with_assignments(
            address,
            result.state,
            assignments,
            events,
            champion=self._champion(model, stored, result.state),
        )
        if requested:
            self.context.writer.take_controls({address: requested})
        self.context.announce(events)
        self.context.listener.rollout_changed(address, result.state)
        return result.wake_at

    def _hold_duplicates(
        self, views: Mapping[str, DeviceView], state: RolloutState, goal: Goal
    ) -> Mapping[str, DeviceView]:
        """Hold back devices of which two machines report: neither gives a verdict."""
        now, until = self.context.clock(), {}
        for device, hold in state.held.items():
            if hold.reason == DUPLICATE and hold.until is not None and now < hold.until:
                until[device] = hold.until
        for device, view in views.items():
            returned_at = self.duplicates.hear(device, view.start, now)
            if returned_at is not None and now < returned_at + goal.spec.offline_after:
                until[device] = returned_at + goal.spec.offline_after
        message = "two machines report under its name; give one of them a name and a key of its own"
        return hold_back(views, DUPLICATE, dict.fromkeys(until, message), until)

    def _call_off(self, before: RolloutState, result: Advance) -> None:
        """Keep devices whose time is up from installing later what nobody waits for any more."""
        again = {device for device, _ in result.assign}
        overdue = [
            device
            for device, progress in result.state.devices.items()
            if progress.reason == DEADLINE_EXCEEDED and device not in again and progress != before.devices.get(device)
        ]
        if overdue:
            self.device_writer.cancel(overdue)

    def _views(self, model: str, labels: Mapping[str, Labels], goal: Goal) -> dict[str, DeviceView]:
        reports, now = self.context.reader.reports(labels), self.context.clock()
        assigned = self.context.reader.assignments(labels)
        capable = self.delivery.capabilities(labels)
        configured = goal.release.config is not None
        views = {}
        for device, its in labels.items():
            report, entry = reports.get(device), assigned.get(device)
            views[device] = view_device(
                model,
                its,
                report=report,
                last_seen=last_seen(report, now) if report else None,
                assignment=entry.assignment.version if entry else 0,
                labels_digest=digest_json(dict(its)) if configured else "",
                proves=capable[device].proof if device in capable else Proof.VERIFIED,
            )
        return views

    def _assignments(
        self, decisions: Sequence[tuple[str, Release | None]], target: RolloutTarget, labels: Mapping[str, Labels]
    ) -> list[Assignment]:
        model = target.rollout.spec.model
        current = self.context.reader.assignments([device for device, _ in decisions])
        configs = self._configs(decisions, target, labels)
        # The state store may have been lost, or be an older copy: versions go on from what is out, never back.
        published = self.delivery.assigned() if decisions else {}
        made = []
        for device, release in decisions:
            before = current.get(device)
            models = {m.model: m for m in before.assignment.models} if before else {}
            if release is None:
                models.pop(model, None)
            else:
                models[model] = ModelAssignment(
                    model=model,
                    package=Blob(digest=release.package, size=release.manifest_size),
                    config=configs.get((device, release.config)),
                    release=release.fingerprint,
                )
            # A new version even for the same content: the rollout waits for the device to take up what it decided now.
            version = 1 + max(before.assignment.version if before else 0, published.get(device, 0))
            wanted = tuple(models[name] for name in sorted(models))
            made.append(Assignment(device=device, version=version, models=wanted))
        return made

    def _configs(
        self, decisions: Sequence[tuple[str, Release | None]], target: RolloutTarget, labels: Mapping[str, Labels]
    ) -> dict[tuple[str, str | None], ConfigFile]:
        by_config: dict[str, dict[str, Labels]] = {}
        for device, release in decisions:
            if release is not None and release.config is not None:
                by_config.setdefault(release.config, {})[device] = labels.get(device, {})
        rendered: dict[tuple[str, str | None], ConfigFile] = {}
        for config, devices in by_config.items():
            files = self.configurator.render(config, target.fleet.metadata.name, target.rollout.spec.model, devices)
            rendered |= {(device, config): file for device, file in files.items()}
        return rendered

    def _unrenderable(
        self,
        error: StepFailed,
        decisions: Sequence[tuple[str, Release | None]],
        desired: Snapshot,
        target: RolloutTarget,
        labels: Mapping[str, Labels],
    ) -> dict[str, str]:
        """Find the devices whose own labels, not the repository, keep their configuration from being rendered.

        Raises:
            StepFailed: It cannot be rendered for a device that the inventory lists, or for none of the fleet.
        """
        listed = {device.id for device in declared(desired, target.fleet)}
        decided = dict(decisions)
        release = next(release for release in decided.values() if release is not None and release.config is not None)
        wanted = {
            device: decided.get(device, release) for device in labels if device in decided or device not in listed
        }
        failed = {d: said for d, r in wanted.items() if (said := self._config_failure(d, r, target, labels))}
        if not failed or failed.keys() & listed or failed.keys() == labels.keys():
            raise error
        return failed

    def _config_failure(
        self, device: str, release: Release | None, target: RolloutTarget, labels: Mapping[str, Labels]
    ) -> str:
        try:
            self._configs([(device, release)], target, labels)
        except StepFailed as error:
            return error.message
        return ""

    def _champion(self, model: str, before: RolloutState, after: RolloutState) -> tuple[str, Champion] | None:
        """Name the new champion when a rollout has just succeeded on its whole fleet."""
        if after.phase is not Phase.SUCCEEDED or after.release is None:
            return None
        if before.phase is Phase.SUCCEEDED and before.release == after.release:
            return None
        package = self.context.reader.package(after.release.package)
        if package is None:
            return None
        export_fingerprint = package.input("export")
        export = self.context.reader.artifacts([export_fingerprint]).get(export_fingerprint)
        if export is None:
            return None
        return model, Champion(
            package=package.digest,
            export=export.digest,
            export_fingerprint=export_fingerprint,
            variant=package.facts_as(PackageFacts).variant,
            train_fingerprint=export.inputs.get("model", ""),
        )


def _conflicts_of(address: Address, conflicts: Mapping[str, DeviceConflict]) -> Mapping[str, str]:
    """Return why devices are held back from a rollout."""
    return {device: each.message for device, each in conflicts.items() if address.name in each.rollouts}


def _hold(
    views: Mapping[str, DeviceView], state: RolloutState, goal: Goal, conflicts: Mapping[str, str]
) -> Mapping[str, DeviceView]:
    """Hold devices back that give no verdict."""
    failed = {
        device: hold.message
        for device, hold in state.held.items()
        if hold.reason == CONFIG_FAILED and device in views and hold.labels_digest == views[device].labels_digest
    }
    unchanged = same_release(state.release, goal.release)
    return hold_back(hold_back(views, CONFIG_FAILED, failed if unchanged else {}), CONFLICT, conflicts)


def _without(result: Advance, failed: Mapping[str, str], now: datetime) -> Advance:
    """Leave out the assignments that cannot be rendered: those of devices that are to go back."""
    lost = {
        device: fail_return(result.state.devices[device], failed[device], now)
        for device, _ in result.assign
        if device in failed
    }
    if not lost:
        return result
    state = replace(result.state, devices={**result.state.devices, **lost})
    assign = tuple((device, release) for device, release in result.assign if device not in lost)
    return replace(result, state=state, assign=assign)


def _goal(desired: Snapshot, target: RolloutTarget, state: RolloutState) -> Goal | None:
    """Aim at the desired release; without one, let what is under way finish."""
    release, key = (target.release, target.key) if target.release else (state.release, state.key)
    if release is None or not key:
        return None
    return Goal(
        name=target.rollout.metadata.name,
        spec=target.rollout.spec,
        release=release,
        key=key,
        fleet_digest=target.fleet_digest,
        device_gates=device_gates(_gates(desired, target.rollout.spec.model)),
        earlier_keys=target.earlier_keys if target.release else (),
    )


def _gates(desired: Snapshot, model: str) -> tuple[Gate, ...]:
    document = desired.model(model)
    thresholds = desired.thresholds(document.spec.thresholds) if document and document.spec.thresholds else None
    return thresholds.spec.gates if thresholds else ()


def _event(event: RolloutEvent, at: datetime, address: Address, desired: Snapshot) -> Event:
    data = {"device": event.device} if event.device else {}
    return Event(at, event.reason, str(address), event.message, data, desired.revision)
