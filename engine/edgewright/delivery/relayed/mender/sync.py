"""Synchronise twins with one Mender server: start and cancel jobs there, and read their results. Made by ``driver``."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof, Route
from edgewright.core.fleet.twins import Job, Stage, Twin
from edgewright.delivery.evidence import Verdict, assess, settle
from edgewright.delivery.relayed.bundling import Bundler, Order
from edgewright.delivery.relayed.job_notes import write_note
from edgewright.delivery.relayed.jobs import drop_unsent, is_cancelling, next_jobs
from edgewright.delivery.relayed.mender import deployment_notes as notes
from edgewright.delivery.relayed.mender.api import Mender, Progress
from edgewright.delivery.relayed.mender.cancellation import Canceller
from edgewright.delivery.relayed.mender.deployment_notes import (
    DeploymentNote,
    deployment_of,
    impossible,
    note_of,
    stage_of,
    summarise,
)
from edgewright.delivery.relayed.mender.deployments import Deployments
from edgewright.delivery.relayed.mender.devices import Devices
from edgewright.delivery.relayed.mender.options import Options
from edgewright.delivery.relayed.twin_writes import TwinWrites, dropped

_GONE = Progress("")


class MenderSync:
    """Implements worker.Sync."""

    def __init__(
        self,
        mender: Mender,
        writes: TwinWrites,
        bundler: Bundler,
        attribute: str,
        clock: Callable[[], datetime],
        options: Options,
    ) -> None:
        self._mender = mender
        self._writes = writes
        self._clock = clock
        self._options = options
        self._devices = Devices(mender, writes, attribute, clock)
        self._deployments = Deployments(mender, writes, bundler, clock)
        self._canceller = Canceller(mender, writes, clock)
        self._read_at = -options.look_every.total_seconds()
        self._read_for: frozenset[str] = frozenset()
        self._shown: dict[tuple[str, int], datetime | None] = {}
        """When devices had last been seen, at the time that the evidence of a job was last read."""

    def close(self) -> None:
        """End its connections."""
        self._mender.close()

    def step(self, routes: Mapping[str, Route], devices: Sequence[Twin]) -> None:
        """As in worker.Sync."""
        current = {twin.device: twin for twin in devices}
        current |= self._read_devices(routes)
        current |= self._read_deployments(routes, current)
        current |= self._drop_unsent(current)
        current |= next_jobs(self._writes, routes, current, self._clock)
        self._deployments.start(routes, current)

    def _read_devices(self, routes: Mapping[str, Route]) -> dict[str, Twin]:
        """Look devices up when that is due, or there are new ones."""
        due = time.monotonic() - self._read_at >= self._options.look_every.total_seconds()
        if not due and self._read_for >= routes.keys():
            return {}
        self._read_at, self._read_for = time.monotonic(), frozenset(routes)
        return self._devices.read(routes)

    # ── deployments under way ─────────────────────────────────────────────────────────────────────────────────

    def _read_deployments(self, routes: Mapping[str, Route], current: Mapping[str, Twin]) -> dict[str, Twin]:
        """Read the progress of deployments; return the twins that changed."""
        running: dict[str, list[Twin]] = {}
        for twin in current.values():
            if (deployment := deployment_of(twin)) is not None:
                running.setdefault(deployment, []).append(twin)
        changed: dict[str, Twin] = {}
        done: list[Twin] = []
        for deployment, members in running.items():
            rows = self._rows(deployment, members)
            for twin in members:
                row = rows.get(twin.device)
                if row is not None and row.status in notes.SUCCEEDED:
                    done.append(twin)
                elif row is not None:
                    changed |= self._read_progress(twin, row, routes.get(twin.device))
            waiting = [current[device] for device in self._open(members, rows)]
            changed |= self._canceller.cancel(deployment, [changed.get(twin.device, twin) for twin in waiting])
        return changed | self._prove(done, routes)

    def _rows(self, deployment: str, members: Sequence[Twin]) -> dict[str, Progress]:
        """Return the progress of devices by our ids; none for one that has not asked yet."""
        found = self._mender.progress(deployment)
        rows = {
            twin.device: found[note.device]
            for twin in members
            if found is not None and (note := note_of(twin)) is not None and note.device in found
        }
        missing = [twin.device for twin in members if twin.device not in rows]
        if missing and (found is None or all(each.is_finished for each in self._mender.deployments([deployment]))):
            rows |= dict.fromkeys(missing, _GONE)
        return rows

    def _open(self, members: Sequence[Twin], rows: Mapping[str, Progress]) -> list[str]:
        ended = {*notes.SUCCEEDED, notes.FAILED, notes.ABORTED, ""}
        return [
            twin.device
            for twin in members
            if (row := rows.get(twin.device)) is None or (row.status not in ended and impossible(row.status) is None)
        ]

    def _read_progress(self, twin: Twin, row: Progress, route: Route | None) -> dict[str, Twin]:
        job, note, now = twin.job, note_of(twin), self._clock()
        assert job is not None and note is not None  # _read_deployments gives only such
        if row.status == notes.FAILED:
            is_cancelled = job.stage is Stage.CANCELLING
            if not row.has_log and not is_cancelled and self._waits(note, self._options.log_after):
                return self._wait(twin, note)
            log = self._mender.log(note.deployment or "", note.device) if row.has_log else ""
            return self._settle(
                job, twin.device, route, note, [row.substate, log], succeeded=False, words=summarise(log)
            )
        if row.status in {notes.ABORTED, ""}:
            return self._end_aborted(job, twin.device, row)
        if (why := impossible(row.status)) is not None:
            return self._writes.change([twin.device], lambda twin: twins.fail(twin, job.number, now, *why))
        stage = stage_of(row.status, job.stage)
        begun = note.begun or stage is Stage.INSTALLING
        if stage is job.stage and begun == note.begun:
            return {}
        return self._writes.change(
            [twin.device], lambda twin: twins.move(write_note(twin, replace(note, begun=begun)), job.number, stage, now)
        )

    def _end_aborted(self, job: Job, device: str, row: Progress) -> dict[str, Twin]:
        """Settle a job whose deployment was aborted, by us or somebody else, or is gone from Mender."""
        now = self._clock()
        words = "it was aborted in Mender" if row.status else "its deployment has ended in Mender without the device"

        def work(twin: Twin) -> Twin:
            note = note_of(twin)
            if twin.job is None or twin.job.stage is not Stage.CANCELLING:
                return twins.fail(twin, job.number, now, "Cancelled", words)
            if note is not None and note.begun:
                return twins.bring_back(twin, job.number, now, "Cancelled", "cancelled after the device had begun")
            return dropped(twin, job.number, now)

        return self._writes.change([device], work)

    # ── what was done ─────────────────────────────────────────────────────────────────────────────────────────

    def _prove(self, done: Sequence[Twin], routes: Mapping[str, Route]) -> dict[str, Twin]:
        """Read the evidence of jobs that Mender reports as successful."""
        asked = [twin for twin in done if self._may_have_sent(twin)]
        shown = self._devices.find([twin.device for twin in asked]) if asked else {}
        changed: dict[str, Twin] = {}
        for twin in done:
            job, note, route = twin.job, note_of(twin), routes.get(twin.device)
            assert job is not None and note is not None  # _read_deployments gives only such
            said = [text for each in shown.get(twin.device, []) if each.id == note.device for text in each.texts()]
            verdict = _judged(job, note, route, said)
            wanted = job.stage is not Stage.CANCELLING and route is not None and route.proof is Proof.VERIFIED
            if verdict is None and wanted and self._waits(note, self._proof_after(route)):
                self._shown[twin.device, job.number] = self._devices.seen_at.get(twin.device)
                changed |= self._wait(twin, note)
            else:
                self._shown.pop((twin.device, job.number), None)
                changed |= self._settle(job, twin.device, route, note, said, succeeded=True, words="")
        return changed

    def _may_have_sent(self, twin: Twin) -> bool:
        """Return whether a device may have sent its inventory since its evidence was last read."""
        key = (twin.device, twin.job.number if twin.job is not None else 0)
        return key not in self._shown or self._shown[key] != self._devices.seen_at.get(twin.device)

    def _proof_after(self, route: Route | None) -> timedelta:
        settings = route.delivery.mender_server if route is not None else None
        own = settings.proof_after if settings is not None else timedelta()
        return own if self._options.proof_after is None else self._options.proof_after

    def _waits(self, note: DeploymentNote, patience: timedelta) -> bool:
        since = datetime.fromisoformat(note.done_at) if note.done_at else self._clock()
        return self._clock() - since < patience

    def _wait(self, twin: Twin, note: DeploymentNote) -> dict[str, Twin]:
        """Record that the job has ended and its evidence or log is still missing."""
        if note.done_at:
            return {}
        now, job = self._clock(), note.job
        waiting = replace(note, done_at=now.isoformat(), begun=True)
        return self._writes.change(
            [twin.device], lambda twin: twins.move(write_note(twin, waiting), job, Stage.INSTALLING, now)
        )

    def _settle(
        self,
        job: Job,
        device: str,
        route: Route | None,
        note: DeploymentNote,
        said: Sequence[str],
        *,
        succeeded: bool,
        words: str,
    ) -> dict[str, Twin]:
        verdict, now = _judged(job, note, route, said), self._clock()
        wanted = route.proof if route is not None else Proof.INSTALLED
        return self._writes.change(
            [device],
            lambda twin: settle(
                twin, job.number, now, wanted=wanted, succeeded=succeeded, verdict=verdict, words=words
            ),
        )

    def _drop_unsent(self, current: Mapping[str, Twin]) -> dict[str, Twin]:
        """Drop jobs that were cancelled before Mender was told, once it is certain that it was not."""
        unsent = [twin for twin in current.values() if is_cancelling(twin) and deployment_of(twin) is None]
        return drop_unsent(self._writes, unsent, self._deployments.find, self._clock())


def _judged(job: Job, note: DeploymentNote, route: Route | None, said: Sequence[str]) -> Verdict | None:
    if route is None:
        return None
    order = Order(job.model, job.target, route.delivery, attempt=note.attempt)
    return assess(job.model, job.target, order.nonce, said)
