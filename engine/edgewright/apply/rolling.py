"""Drives rollouts: what devices said goes into the pure state machine, what it decides becomes assignments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from edgewright.apply.configuring import Configurator
from edgewright.apply.listening import Listener
from edgewright.core.address import Address
from edgewright.core.membership import members
from edgewright.core.observed import Champion
from edgewright.core.rollout import DeviceView, Goal, RolloutEvent, advance
from edgewright.core.rollout_planning import Aim
from edgewright.core.rollout_state import Phase, Release, RolloutState
from edgewright.core.snapshot import Snapshot
from edgewright.ports import Event, StateReader, StateWriter
from edgewright_schemas.thresholds import Gate
from edgewright_wire.canonical import digest_json
from edgewright_wire.messages import Assignment, Blob, ConfigFile, ModelAssignment, Report

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Roller:
    """Everything rolling out needs."""

    reader: StateReader
    writer: StateWriter
    configurator: Configurator
    listener: Listener
    clock: Callable[[], datetime]

    def advance(self, desired: Snapshot, address: Address, aim: Aim) -> datetime | None:
        """Move one rollout on by what is known now.

        Returns:
            When time alone will change something; None when only reports or people can.

        Raises:
            StepFailed: A device's configuration cannot be rendered; nothing was assigned.
            LeaseLost, StorageFull: As ports.StateWriter.
        """
        stored = self.reader.rollout(address) or RolloutState()
        requested = self.reader.requested_controls().get(address)
        state = replace(stored, controls=requested) if requested else stored
        goal = _goal(desired, aim, state)
        if goal is None:
            return None
        if goal.release.config is not None:
            self.configurator.keep(desired, aim.fleet, goal.release.config)
        labels = members(desired, aim.fleet, self.reader.enrolled())
        reports = self.reader.reports(labels.keys() | state.devices.keys())
        model = aim.rollout.spec.model
        views = {id_: device_view(model, labels.get(id_, {}), reports.get(id_)) for id_ in labels}
        result = advance(state, goal, views, self.clock())
        if result.state == stored and not result.assign and not requested:
            return result.wake_at
        assignments = self._assignments(result.assign, aim, labels)
        self.writer.save_rollout_with_assignments(
            address,
            result.state,
            assignments,
            [_event(event, address, desired) for event in result.events],
            champion=self._champion(model, stored, result.state),
        )
        if requested:
            self.writer.take_controls({address: requested})
        for event in result.events:
            self.listener.happened(_event(event, address, desired))
        self.listener.rolled(address, result.state)
        return result.wake_at

    def _assignments(
        self, decisions: Sequence[tuple[str, Release | None]], aim: Aim, labels: Mapping[str, Labels]
    ) -> list[Assignment]:
        model = aim.rollout.spec.model
        current = self.reader.assignments([device for device, _ in decisions])
        configs = self._configs(decisions, aim, labels)
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
            wanted = tuple(models[name] for name in sorted(models))
            if before is None or before.assignment.models != wanted:
                version = before.assignment.version + 1 if before else 1
                made.append(Assignment(device=device, version=version, models=wanted))
        return made

    def _configs(
        self, decisions: Sequence[tuple[str, Release | None]], aim: Aim, labels: Mapping[str, Labels]
    ) -> dict[tuple[str, str | None], ConfigFile]:
        by_config: dict[str, dict[str, Labels]] = {}
        for device, release in decisions:
            if release is not None and release.config is not None:
                by_config.setdefault(release.config, {})[device] = labels.get(device, {})
        rendered: dict[tuple[str, str | None], ConfigFile] = {}
        for config, devices in by_config.items():
            files = self.configurator.render(config, aim.fleet.metadata.name, aim.rollout.spec.model, devices)
            rendered |= {(device, config): file for device, file in files.items()}
        return rendered

    def _champion(self, model: str, before: RolloutState, after: RolloutState) -> tuple[str, Champion] | None:
        """Name the new champion when a rollout has just succeeded on its whole fleet."""
        if after.phase is not Phase.SUCCEEDED or after.release is None:
            return None
        if before.phase is Phase.SUCCEEDED and before.release == after.release:
            return None
        recorded = self.reader.artifacts()
        package = next((a for a in recorded.values() if a.digest == after.release.package), None)
        if package is None:
            return None
        export_fingerprint = package.facts["inputs"]["export"]
        export = recorded[export_fingerprint]
        return model, Champion(
            package=package.digest,
            export=export.digest,
            export_fingerprint=export_fingerprint,
            variant=str(package.facts["variant"]),
            train_fingerprint=export.facts["inputs"].get("model", ""),
        )


def _goal(desired: Snapshot, aim: Aim, state: RolloutState) -> Goal | None:
    """Aim at the desired release; without one, let what is under way finish."""
    release, key = (aim.release, aim.key) if aim.release else (state.release, state.key)
    if release is None or not key:
        return None
    return Goal(
        name=aim.rollout.metadata.name,
        spec=aim.rollout.spec,
        release=release,
        key=key,
        fleet_digest=aim.fleet_digest,
        gates=_gates(desired, aim.rollout.spec.model),
    )


def _gates(desired: Snapshot, model: str) -> tuple[Gate, ...]:
    document = desired.model(model)
    thresholds = desired.thresholds(document.spec.thresholds) if document and document.spec.thresholds else None
    return thresholds.spec.gates if thresholds else ()


def device_view(model: str, labels: Labels, report: Report | None) -> DeviceView:
    """Say what is known of one device, as far as one model is concerned."""
    said = report.model(model) if report else None
    return DeviceView(
        labels=labels,
        labels_digest=digest_json(dict(labels)),
        last_seen=report.sent_at if report else None,
        device_class=labels.get("class", report.device_class if report else ""),
        phase=said.phase if said else None,
        release=said.release if said else None,
        active_release=said.active_release if said else None,
        verified=bool(said and said.verified and said.verified == said.active),
        reason=said.reason if said else "",
        message=said.message if said else "",
        latency_p95_ms=said.probe.latency_p95_ms if said and said.probe else None,
    )


def _event(event: RolloutEvent, address: Address, desired: Snapshot) -> Event:
    data = {"device": event.device} if event.device else {}
    return Event(event.at, event.reason, str(address), event.message, data, desired.revision)
