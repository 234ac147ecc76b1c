"""Carries one job out on a device that is connected and inspected. Called by ``session``."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Job, ModelTwin, Stage, Twin
from edgewright.delivery.evidence import Contradiction, Refused, Verdict, Verified, assess, nonce_of, settle
from edgewright.delivery.pushed.ssh import scripts
from edgewright.delivery.pushed.ssh.connection import CommandResult, SshConnection
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.errors import DeviceError, JobFailed, TimedOut
from edgewright.delivery.pushed.ssh.inspection import (
    DeviceInspection,
    device_output,
    has_answer,
    installed_models,
    parse_active,
    parse_order_status,
)
from edgewright.delivery.pushed.ssh.missing_files import unneeded
from edgewright.delivery.pushed.ssh.targets import SshTarget
from edgewright.delivery.pushed.ssh.twin_writes import BatchedTwinWrites
from edgewright.delivery.pushed.ssh.upload import script_failure, upload_payload
from edgewright.delivery.repository.depot import Depot, PayloadFile
from edgewright.errors import DeliveryError
from edgewright_schemas.delivery import Restart
from edgewright_wire.canonical import hex_of
from edgewright_wire.layout import PAYLOAD_ASSIGNMENT
from edgewright_wire.markers import SlotFile, SlotMarker
from edgewright_wire.messages import ModelAssignment, ProbeResult
from edgewright_wire.slots import MARKER_FILE

_MAX_HANGS = 3
"""Sessions in which a device may hang while it installs; then the job has failed."""
_HANGS = "hangs"
"""In a twin's memo: the job's number, and in how many sessions it hung."""
Files = Sequence[PayloadFile]


@dataclass(frozen=True, slots=True)
class SessionContext:
    """A session's device, and the services it works with."""

    target: SshTarget
    twin_writes: BatchedTwinWrites
    depot: Depot
    clock: Callable[[], datetime]
    deadline: Deadline

    def change(self, work: Callable[[Twin], Twin]) -> Twin:
        """Change the device's twin, durably."""
        return self.twin_writes.change(self.target.device, work)


class JobRunner:
    """Carries one job out.

    Args:
        context: The session's.
        connection: To the device.
        inspection: What is on the device.
        job: The job.
        progress: Is called with the number of bytes that were sent.
    """

    def __init__(
        self,
        context: SessionContext,
        connection: SshConnection,
        inspection: DeviceInspection,
        job: Job,
        progress: Callable[[int], None],
    ) -> None:
        self._target = context.target
        self._twin_writes = context.twin_writes
        self._depot = context.depot
        self._clock = context.clock
        self._deadline = context.deadline
        self._change = context.change
        self._connection = connection
        self._inspection = inspection
        self._job = job
        self._progress = progress
        self._nonce = f"{nonce_of(job.model, job.target)}-{job.number}"

    def run(self) -> Twin:
        """Carry the job out as far as it goes; return the device's twin.

        Raises:
            DeviceError: The device could not be worked with; another session goes on.
            EdgewrightError: The engine's own store or files.
            Stopped: The controller is shutting down.
        """
        job, proof = self._job, self._target.proof
        found = installed_models(self._inspection, proof, [job.target] if job.target is not None else [])
        try:
            if is_done(job, found, proof):
                return self._finish(found.get(job.model, ModelTwin(job.model)).probe)
            if job.stage is Stage.CANCELLING:
                return self._cancelled()
            if job.target is None:
                return self._remove()
            return self._install(job.target)
        except JobFailed as error:
            return self._fail(error)
        except scripts.ScriptError as error:
            return self._fail(JobFailed("InvalidPackage", str(error)))
        except TimedOut as error:
            self._count_hang(error)
            raise

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _finish(self, probe: ProbeResult | None) -> Twin:
        """End a job that turns out to be done: an earlier session switched, and may not have come to what follows."""
        restart = self._target.restart
        self._connection.run(scripts.clear_incoming(self._inspection.store))
        if self._job.stage is Stage.INSTALLING and self._job.target is not None and restart is not None:
            return self._notify_application(restart, probe)
        return self._succeed(probe)

    def _install(self, assignment: ModelAssignment) -> Twin:
        earlier = assess(self._job.model, assignment, self._nonce, self._inspection.output)
        if isinstance(earlier, Refused):
            return self._settle(succeeded=False, verdict=earlier)
        files = self._depot.payload(assignment)
        if self._target.proof is Proof.VERIFIED:
            return self._order_installer(files)
        return self._switch(assignment, files)

    def _order_installer(self, files: Files) -> Twin:
        """Run the installer, which switches the model and verifies it."""
        target, inspection, number = self._target, self._inspection, self._job.number
        self._upload(files, scripts.stage_payload(number, _links(files)))
        if (cancelled := self._begin_change()) is not None:
            return cancelled
        gone = unneeded(inspection.blobs, [files]) if inspection.read_only else ()  # else the installer sees to that
        script = scripts.install(target.root, inspection.store, target.installer, number, self._nonce, gone)
        result = self._connection.run(script)
        self._deadline.critical = False
        verdict = self._verdict(result)
        if isinstance(verdict, Verified) and target.restart is not None:
            return self._notify_application(target.restart, verdict.probe)
        return self._settle_by(result, verdict)

    def _switch(self, assignment: ModelAssignment, files: Files) -> Twin:
        """Switch without an installer, to files that were verified by their digests."""
        target, inspection, model = self._target, self._inspection, self._job.model
        active = inspection.active(model)
        name, before = inspection.idle(model), active.name if active is not None else ""
        kept = [file for file in files if file.name != PAYLOAD_ASSIGNMENT]
        if MARKER_FILE in {file.name for file in files}:
            raise scripts.ScriptError(f"{MARKER_FILE!r} is a name that devices use themselves")
        listed = tuple(SlotFile(name=file.name, size=file.size) for file in kept)
        marker = SlotMarker(assignment=assignment, files=listed).to_bytes().decode()
        self._upload(kept, scripts.fill_slot(target.root, inspection.store, model, name, _links(kept), marker))
        if (cancelled := self._begin_change()) is not None:
            return cancelled
        gone = self._unneeded_blobs(kept)
        script = scripts.switch(target.root, model, name, before, marker, target.restart, gone)
        result = self._connection.run(script)
        self._deadline.critical = False
        if not has_answer(result.output, "switched"):
            raise script_failure(result, "InstallFailed")
        return self._settle(succeeded=True, verdict=None)

    def _notify_application(self, restart: Restart, probe: ProbeResult | None) -> Twin:
        """Notify the application of the active model; if it fails after that, restore the previous one."""
        target, inspection, model = self._target, self._inspection, self._job.model
        self._deadline.critical = True
        result = self._connection.run(scripts.notify_application(restart))
        if has_answer(result.output, "told"):
            self._deadline.critical = False
            return self._succeed(probe)
        error = script_failure(result, "RestartFailed")
        had_before = self._had_before()
        if target.proof is Proof.VERIFIED:
            nonce = f"{self._nonce}-undo"
            script = scripts.undo(target.root, inspection.store, target.installer, model, nonce, had_before, restart)
        else:
            script = scripts.switch_back(target.root, model, inspection.idle(model) if had_before else "", restart)
        self._connection.run(script)
        self._deadline.critical = False
        return self._fail(error)

    def _remove(self) -> Twin:
        target, model = self._target, self._job.model
        if (cancelled := self._begin_change()) is not None:
            return cancelled
        if target.proof is Proof.INSTALLED:
            result = self._connection.run(scripts.remove(target.root, model))
            self._deadline.critical = False
            if not has_answer(result.output, "removed"):
                raise script_failure(result, "NotRemoved")
            return self._settle(succeeded=True, verdict=None)
        script = scripts.uninstall(target.root, self._inspection.store, target.installer, model, self._nonce)
        result = self._connection.run(script)
        self._deadline.critical = False
        return self._settle_by(result, self._verdict(result))

    def _upload(self, files: Files, stage: str) -> None:
        upload_payload(self._connection, self._inspection, files, stage, self._progress)

    def _begin_change(self) -> Twin | None:
        """Check once more that the job is still wanted, and record that the device is about to be changed.

        Returns:
            None: it is. Else the device's twin; its job was cancelled.
        """
        job = self._job
        twin = self._change(lambda twin: twins.move(twin, job.number, Stage.INSTALLING, self._clock()))
        now = twin.job
        if now is not None and now.number == job.number and now.stage is Stage.INSTALLING:
            self._deadline.critical = True
            return None
        return self._cancelled()

    def _cancelled(self) -> Twin:
        twin = self._change(lambda twin: twins.stopped(twin, self._job.number, self._clock()))
        if twin.job is None:  # else the next job may use the uploaded files
            self._connection.run(scripts.clear_incoming(self._inspection.store))
        return twin

    def _had_before(self) -> bool:
        """Return True if the model was installed before this job."""
        twin = self._twin_writes.twin(self._target.device)
        return twin is not None and twin.model(self._job.model).installed is not None

    def _unneeded_blobs(self, files: Files) -> tuple[str, ...]:
        """Choose the blobs that neither the new active slots nor the previous one need."""
        kept = [files]
        for model, slots in self._inspection.slots.items():
            for each in slots:
                if each.active or model != self._job.model:
                    with suppress(DeliveryError):  # unpublished: its slot has the files, and no upload needs the blobs
                        kept.append(self._depot.payload(each.marker.assignment))
        return unneeded(self._inspection.blobs, kept)

    # ── results ───────────────────────────────────────────────────────────────────────────────────────────────

    def _verdict(self, result: CommandResult) -> Verdict | None:
        """Judge the installer's evidence.

        Raises:
            DeviceError: It is at another order.
        """
        job = self._job
        verdict = assess(job.model, job.target, self._nonce, result.output)
        if verdict is None and parse_order_status(result.output) == 1:
            words = device_output(result.output)
            raise DeviceError("Busy", f"the device is still at an earlier order: {words}")
        active = parse_active(result.output)
        if isinstance(verdict, Verified) and active is not None and active.get(job.model) != job.target:
            return Contradiction("the installer says that it is done, and on the device it is not")
        return verdict

    def _settle_by(self, result: CommandResult, verdict: Verdict | None) -> Twin:
        words = device_output(result.output) if verdict is None else ""
        return self._settle(succeeded=parse_order_status(result.output) == 0, verdict=verdict, words=words)

    def _settle(self, *, succeeded: bool, verdict: Verdict | None, words: str = "") -> Twin:
        return self._change(
            lambda twin: settle(
                twin,
                self._job.number,
                self._clock(),
                wanted=self._target.proof,
                succeeded=succeeded,
                verdict=verdict,
                words=words,
            )
        )

    def _succeed(self, probe: ProbeResult | None) -> Twin:
        proof = self._target.proof
        return self._change(lambda twin: twins.succeed(twin, self._job.number, self._clock(), proof, probe))

    def _fail(self, error: DeviceError) -> Twin:
        return self._change(lambda twin: fail_job(twin, self._job.number, self._clock(), error))

    def _count_hang(self, error: TimedOut) -> None:
        """Count the sessions in which the device hung while it installed; fail the job after too many."""
        job = self._job

        def work(twin: Twin) -> Twin:
            if twin.job is None or twin.job.number != job.number or twin.job.stage is not Stage.INSTALLING:
                return twin
            number, before = twin.memo.get(_HANGS, (0, 0))
            hangs = before + 1 if number == job.number else 1
            if hangs < _MAX_HANGS:
                return replace(twin, memo={**twin.memo, _HANGS: [job.number, hangs]})
            message = f"{error.message}, while it installed, {hangs} times"
            return twins.bring_back(twin, job.number, self._clock(), error.reason, message)

        self._change(work)


def fail_job(twin: Twin, number: int, now: datetime, error: DeviceError) -> Twin:
    """End a job of a device as failed."""
    return twins.fail(twin, number, now, error.reason, error.message)


def is_done(job: Job, installed: Mapping[str, ModelTwin], proof: Proof) -> bool:
    """Return True if a device is as a job wants it.

    Args:
        job: The job.
        installed: The device's models by name, as ``installed_models`` gives them.
        proof: What devices have to prove.
    """
    found = installed.get(job.model, ModelTwin(job.model))
    if job.target is None:
        return found.installed is None
    return found.installed == job.target and (proof is Proof.INSTALLED or found.proof is Proof.VERIFIED)


def _links(files: Files) -> list[tuple[str, str]]:
    return [(file.name, hex_of(file.digest)) for file in files]
