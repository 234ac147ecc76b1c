"""One session with one device: connect, inspect it, do its jobs, record what was found. Called by ``driver``.

No state that is kept here alone matters: what is to be done is in the store, what was done is on the device. So a
session that ends anywhere, with its process or without, is simply repeated: the next one inspects the device.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Job, ModelTwin, Stage, Twin
from edgewright.delivery.pushed.ssh import scripts
from edgewright.delivery.pushed.ssh.connection import Dialer, SshConnection
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.errors import DeviceError, JobFailed, TimedOut
from edgewright.delivery.pushed.ssh.inspection import (
    DeviceInspection,
    device_output,
    installed_models,
    parse_inspection,
    parse_installed,
)
from edgewright.delivery.pushed.ssh.jobs import JobRunner, SessionContext, fail_job, is_done
from edgewright.delivery.pushed.ssh.targets import SshTarget
from edgewright.delivery.pushed.ssh.twin_writes import BatchedTwinWrites
from edgewright.delivery.pushed.ssh.upload import script_failure
from edgewright.delivery.repository.depot import Depot
from edgewright_wire.messages import ModelAssignment

_MAX_JOBS = 50
"""In one session; models of one device."""


class Session:
    """One session.

    Args:
        target: The device.
        twin_writes: Keeps the twins.
        depot: The published packages and configurations.
        dialer: Opens connections.
        clock: Gives aware UTC times.
        deadline: Ends the session.
    """

    def __init__(
        self,
        target: SshTarget,
        twin_writes: BatchedTwinWrites,
        depot: Depot,
        dialer: Dialer,
        clock: Callable[[], datetime],
        deadline: Deadline,
    ) -> None:
        self._context = SessionContext(target, twin_writes, depot, clock, deadline)
        self._target = target
        self._dialer = dialer
        self._clock = clock
        self._deadline = deadline
        self._change = self._context.change
        self.sent = 0
        """Bytes that were sent to the device."""

    def run(self) -> None:
        """Run the session; what is wrong with the device's jobs is in its twin.

        Raises:
            DeviceError: The device could not be worked with.
            EdgewrightError: The engine's own store or files.
            Stopped: The controller is shutting down.
        """
        connection = self._dialer.open(self._target, self._deadline)
        try:
            seconds = self._target.timeout
            self._deadline.limit(seconds, TimedOut(f"{self._target.hop} took longer than {seconds:g} s (timeout)"))
            self._work(connection)
        except JobFailed as error:
            # Raised outside a job, it says that the device can take none; the next session may find it repaired.
            raise DeviceError(error.reason, error.message) from error
        finally:
            self._deadline.close()
            connection.close()

    def _work(self, connection: SshConnection) -> None:
        twin = self._change(lambda twin: _connected(twin, self._clock()))
        for _ in range(_MAX_JOBS):
            expected = twin.job.number if twin.job is not None else None
            inspection = self._inspect(connection, twin)
            twin = self._change(partial(self._record, inspection))
            if twin.job is not None and twin.job.number != expected:
                continue  # it was assigned meanwhile, and the inspection has made no folders ready for it
            if twin.job is not None:
                twin = JobRunner(self._context, connection, inspection, twin.job, self._add_sent).run()
            if twin.job is None:
                break
        if twin.reason:
            self._change(lambda twin: twins.seen(twin, self._clock()))

    def _add_sent(self, count: int) -> None:
        self.sent += count

    def _inspect(self, connection: SshConnection, twin: Twin) -> DeviceInspection:
        target = self._target
        is_verified = target.proof is Proof.VERIFIED
        uploads = twin.job is not None and twin.job.target is not None and twin.job.stage is not Stage.CANCELLING
        result = connection.run(scripts.inspect(target.root, target.installer, proves=is_verified, make=uploads))
        inspection = parse_inspection(result.output)
        if inspection is None:
            raise self._give_up(twin.job, script_failure(result, "NotUnderstood"))
        if inspection.has_agent:
            words = (
                f"{target.root} belongs to an agent: reach the device with delivery type agent, or name another root"
            )
            raise self._give_up(twin.job, JobFailed("AgentThere", words))
        if inspection.read_only and not is_verified:
            words = f"{target.hop.user} may not write {target.root}: make it theirs, or name another root"
            raise self._give_up(twin.job, JobFailed("NotWritable", words))
        if is_verified and inspection.reports is None:
            raise self._give_up(twin.job, self._no_installer(inspection))
        changing = twin.job.model if twin.job is not None else None
        if any(each.active != each.verified and each.model != changing for each in inspection.reports or ()):
            # The active model was never verified, or the device forgot: run its golden samples now.
            reports, _ = parse_installed(connection.run(scripts.probe(target.root, target.installer)).output)
            inspection = replace(inspection, reports=reports) if reports is not None else inspection
        return inspection

    def _no_installer(self, inspection: DeviceInspection) -> DeviceError:
        command, status = " ".join(self._target.installer), inspection.installer_status
        if status in {126, 127}:
            return JobFailed(
                "InstallerMissing",
                f"there is no {command} for {self._target.hop.user}: install edgewright-agent there, name it in "
                "spec.delivery.installer, or ask for less with proof: installed",
            )
        words = device_output(inspection.output)
        return JobFailed("InstallerFailed", f"'{command} installed' ended with {status} and no evidence: {words}")

    def _give_up(self, job: Job | None, error: DeviceError) -> DeviceError:
        """Fail a job that cannot be done on this device."""
        if job is not None and isinstance(error, JobFailed):
            self._change(lambda twin: fail_job(twin, job.number, self._clock(), error))
        return error

    def _record(self, inspection: DeviceInspection, twin: Twin) -> Twin:
        """Record the device's models, and begin its next job."""
        now, proof = self._clock(), self._target.proof
        found = installed_models(inspection, proof, _known(twin))
        for name in sorted({each.model for each in twin.models} | found.keys()):
            # The model that is being changed is recorded when that is done.
            if twin.job is None or twin.job.model != name:
                twin = twins.found(twin, found.get(name, ModelTwin(name)), now)
        twin = twins.next_job(twin, now)
        while (job := twin.job) is not None and job.stage is Stage.WAITING and is_done(job, found, proof):
            twin = twins.succeed(twin, job.number, now, proof, found.get(job.model, ModelTwin(job.model)).probe)
        if job is not None and job.stage is Stage.WAITING:
            twin = twins.move(twin, job.number, Stage.FETCHING, now)
        return twin


def _connected(twin: Twin, now: datetime) -> Twin:
    """Record that a device was reached. Its problem stays until a session is complete, except a failed connection."""
    without_problem = replace(twin, reason="", message="")
    after = twins.seen(without_problem, now)
    if twin.reason in _CONNECTION_REASONS:
        return after if after != twin else twin
    return twin if after == without_problem else replace(after, reason=twin.reason, message=twin.message)


_CONNECTION_REASONS = frozenset(
    {"Unreachable", "AuthenticationFailed", "HostKeyUnknown", "HostKeyMismatch", "HostKeyRevoked", "KeyUnusable"}
)
"""Reasons of ConnectionFailed."""


def _known(twin: Twin) -> list[ModelAssignment]:
    """List the releases that may be on a device."""
    assigned = twin.assignment.models if twin.assignment is not None else ()
    job = [twin.job.target] if twin.job is not None and twin.job.target is not None else []
    return [*assigned, *job, *(model.installed for model in twin.models if model.installed is not None)]
