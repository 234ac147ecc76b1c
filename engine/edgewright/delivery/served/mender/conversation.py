"""Applies requests of a device with Mender's client to its twin. Pure: a twin in, a twin out. Called by ``service``.

A deployment is one job of one device, named by a UUID made of its number. Clients report ``downloading``,
``installing`` and last ``success`` or ``failure``; then they send the log of a failure, and their inventory in any
case. So a success is accepted when the inventory after it shows the evidence of this very deployment, and a failure
with the log that explains it, or when the client asks for work again without having sent one.

The driver's notes in a twin's memo: ``said``: the job whose success is not proved yet, and when it was reported;
``ended``: the deployment that failed last, and its job; ``evidence``: the evidence in the last inventory, by model;
``confirmed``: the releases that the client, and the installer, have listed.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Job, ModelTwin, Stage, Twin
from edgewright.delivery.evidence import Refused, Verdict, assess, settle
from edgewright.delivery.served.mender.failure_logs import UNEXPLAINED, explain
from edgewright.delivery.served.mender.messages import LogMessage
from edgewright.delivery.served.mender.orders import EVIDENCE, INSTALLED, artifact_name, release_key
from edgewright_wire.evidence import InstalledEvidence
from edgewright_wire.messages import ModelAssignment

INVENTORY_TIMEOUT = timedelta(hours=9)
"""Time in which the inventory must follow a success: by default clients send it every eight hours."""
STATUSES: Mapping[str, Stage | None] = {
    "downloading": Stage.FETCHING,
    "pause_before_installing": Stage.FETCHING,
    "installing": Stage.INSTALLING,
    "pause_before_rebooting": Stage.INSTALLING,
    "rebooting": Stage.INSTALLING,
    "pause_before_committing": Stage.INSTALLING,
    "success": None,
    "already-installed": None,
    "failure": None,
}
"""The stage of a job by the status that clients report; None: it has ended."""
_NAMESPACE = uuid.UUID("5e0d1f0e-6f0a-5b52-9d52-6b8a4b1a7c3e")
_MOST_FACTS = 200
_LONGEST_FACT = 512
_LONGEST = 8192
"""Most characters of evidence."""
_OWN = "edgewright_"
_NO_LOG = "its update client says that it failed, and sent no log"


def deployment_id(environment: str, device: str, job: Job) -> str:
    """Return the id of a job and of its evidence; the same in every controller, and after a restart."""
    return str(uuid.uuid5(_NAMESPACE, f"{environment}/{device}/{job.number}"))


def artifact_of(deployment: str, job: Job) -> str:
    """Return the name of a deployment's artifact."""
    return artifact_name(job.model, job.target, deployment[:8])


@dataclass(frozen=True, slots=True)
class DeviceConversation:
    """Applies one request of one device."""

    environment: str
    wanted: Proof
    """The proof that the device has to give."""
    now: datetime
    """Aware, UTC."""

    # ── polling ───────────────────────────────────────────────────────────────────────────────

    def asked(self, twin: Twin, provides: Mapping[str, str] | None) -> Twin:
        """Apply a poll: the device works on no deployment. Its next job is offered, if there is one.

        Args:
            twin: The device.
            provides: Its ``device_provides``; None: its client is too old to send it.
        """
        job = twin.job
        if job is not None and job.stage is not Stage.CANCELLING and self.awaits_log(twin, job):
            twin = self._failed(twin, job, Refused(UNEXPLAINED, _NO_LOG))
        elif job is not None and job.stage is not Stage.WAITING and not self._awaits_proof(twin, job):
            has_it = provides is not None and provides.get("artifact_name") == artifact_of(self._id(twin, job), job)
            if has_it:
                twin = self._succeeded(twin, job)
            elif job.stage is Stage.CANCELLING:
                twin = twins.stopped(twin, job.number, self.now)
        twin = self._time_out(twin)
        if provides is not None:
            matching = {each.model for each in twin.models if _release(each) == provides.get(release_key(each.model))}
            twin = self._compare(twin, "client", matching)
        twin = twins.seen(twin, self.now)
        job = twin.job
        return twins.move(twin, job.number, Stage.OFFERED, self.now) if job and job.stage is Stage.WAITING else twin

    def offered(self, twin: Twin) -> Job | None:
        """Return the job to offer to a device that polls; None: there is none, or its success is not proved yet."""
        job = twin.job
        return None if job is None or job.stage is Stage.CANCELLING or self._awaits_proof(twin, job) else job

    # ── status and log ────────────────────────────────────────────────────────────────────────────────────────────────

    def reported(self, twin: Twin, deployment: str, status: str) -> tuple[Twin, bool]:
        """Apply a status report of a deployment.

        Args:
            twin: The device.
            deployment: Its id.
            status: One of STATUSES.

        Returns:
            The device, and whether it must stop. A deployment that has ended is never stopped: its client would undo
            the commit.
        """
        stage, job = STATUSES[status], twin.job
        if job is None or self._id(twin, job) != deployment or self.awaits_log(twin, job):
            return twin, stage is not None
        if stage is not None:
            return twins.move(twin, job.number, stage, self.now), job.stage is Stage.CANCELLING
        if status != "failure":
            return self._succeeded(twin, job), False
        if job.stage is Stage.CANCELLING:
            return twins.stopped(_noted(twin, said=None), job.number, self.now), False
        ended = {"id": deployment, "model": job.model, "version": job.version, "job": job.number}
        return twins.seen(_noted(twin, said=None, ended=ended), self.now), False

    def logged(self, twin: Twin, deployment: str, messages: Sequence[LogMessage]) -> Twin:
        """Apply the log of a deployment that failed: it gives the reason."""
        ended, job = twin.memo.get("ended"), twin.job
        if not isinstance(ended, Mapping) or ended.get("id") != deployment:
            return twin
        if job is not None and self.awaits_log(twin, job):
            if job.stage is Stage.CANCELLING:
                return twins.stopped(twin, job.number, self.now)
            return self._failed(twin, job, _reason(job.model, job.target, deployment, messages))
        failed = twin.model(ended["model"]).failed
        if failed is None or failed.reason != UNEXPLAINED:
            return twin
        why = _reason(ended["model"], failed.target, deployment, messages)
        return twins.explain(twin, ended["model"], ended["version"], why.reason, why.message, why.probe)

    @staticmethod
    def awaits_log(twin: Twin, job: Job) -> bool:
        """Return True if a job's failure was reported, and its log has not come yet."""
        ended = twin.memo.get("ended")
        return isinstance(ended, Mapping) and ended.get("job") == job.number

    def _failed(self, twin: Twin, job: Job, why: Refused) -> Twin:
        return settle(twin, job.number, self.now, wanted=self.wanted, succeeded=False, verdict=why)

    # ── inventory ────────────────────────────────────────────────────────────────────────────────────

    def listed(self, twin: Twin, attributes: Mapping[str, str], *, whole: bool) -> Twin:
        """Apply inventory attributes. Those that other programs on the device add prove nothing, not even an absence.

        Args:
            twin: The device.
            attributes: Values by name.
            whole: True if they replace the earlier ones.
        """
        before = {} if whole else twin.facts
        facts = {name: text[:_LONGEST_FACT] for name, text in attributes.items() if not name.startswith(_OWN)}
        kept = sorted({**before, **facts}.items())[:_MOST_FACTS]
        twin, job = self._keep_evidence(twin, attributes), twin.job
        if job is not None and self._awaits_proof(twin, job) and _is_of_client(attributes):
            twin = self._settle(twin, job)
        if INSTALLED in attributes:
            twin = self._compare(twin, "installer", _listed_models(twin, attributes[INSTALLED]))
        return twins.seen(twin, self.now, facts=dict(kept))

    # ── evidence ──────────────────────────────────────────────────────────────────────────────────────────

    def _keep_evidence(self, twin: Twin, attributes: Mapping[str, str]) -> Twin:
        """Keep the evidence in an inventory, of the device's models."""
        if not _is_of_client(attributes):
            return twin
        models = {known.model for known in twin.models} | ({twin.job.model} if twin.job is not None else set())
        found = {model: attributes.get(EVIDENCE + model, "") for model in sorted(models)}
        return _noted(twin, evidence={model: text for model, text in found.items() if 0 < len(text) < _LONGEST} or None)

    def _id(self, twin: Twin, job: Job) -> str:
        return deployment_id(self.environment, twin.device, job)

    def _succeeded(self, twin: Twin, job: Job) -> Twin:
        """Accept a success that needs no evidence, or has shown it already; else wait for the inventory."""
        if self.wanted is Proof.INSTALLED or self._verdict(twin, job) is not None:
            return self._settle(twin, job)
        if not self._awaits_proof(twin, job):
            twin = _noted(twin, said={"job": job.number, "at": self.now.isoformat()})
        return twins.move(twin, job.number, Stage.INSTALLING, self.now)

    def _settle(self, twin: Twin, job: Job) -> Twin:
        verdict = self._verdict(twin, job)
        twin = _noted(twin, said=None)
        return settle(twin, job.number, self.now, wanted=self.wanted, succeeded=True, verdict=verdict)

    def _verdict(self, twin: Twin, job: Job) -> Verdict | None:
        shown = twin.memo.get("evidence")
        text = shown.get(job.model) if isinstance(shown, Mapping) else None
        return assess(job.model, job.target, self._id(twin, job), text) if isinstance(text, str) else None

    def _awaits_proof(self, twin: Twin, job: Job) -> bool:
        """Return True if a job's success was reported, and is not proved yet."""
        said = twin.memo.get("said")
        return isinstance(said, Mapping) and said.get("job") == job.number

    def _time_out(self, twin: Twin) -> Twin:
        job, said = twin.job, twin.memo.get("said")
        if job is None or not isinstance(said, Mapping) or not self._awaits_proof(twin, job):
            return twin
        late = self.now - datetime.fromisoformat(said["at"]) > INVENTORY_TIMEOUT
        return self._settle(twin, job) if late else twin

    def _compare(self, twin: Twin, by: str, matching: set[str]) -> Twin:
        """Compare the recorded releases with those that the device lists.

        A release that was listed before and is missing now is installed again. One that was never listed, only
        reported by its update client, has failed: it would be installed again for ever.

        Args:
            twin: The device.
            by: The source of the list: ``client`` or ``installer``.
            matching: Models that are listed as they are recorded.
        """
        confirmed = dict(twin.memo.get("confirmed", {}))
        seen = dict(confirmed.get(by, {}))
        for known in twin.models:
            at_it = twin.job is not None and twin.job.model == known.model and twin.job.stage is not Stage.WAITING
            release = _release(known)
            if release is None or at_it:
                continue
            if known.model in matching:
                seen[known.model] = release
            elif seen.pop(known.model, None) == release:
                twin = twins.found(twin, ModelTwin(known.model), self.now)
            else:
                message = f"its update client said that {release} is installed; the {by} on the device lists it not"
                twin = twins.refute(twin, known.model, self.now, message)
        here = {known.model for known in twin.models}
        confirmed[by] = {model: release for model, release in seen.items() if model in here}
        return _noted(twin, confirmed=confirmed)


def _reason(model: str, target: ModelAssignment | None, deployment: str, messages: Sequence[LogMessage]) -> Refused:
    """Find why a deployment failed: in the evidence that its log has, or else in the client's own words."""
    verdict = assess(model, target, deployment, [f"{each.message}\n" for each in messages])
    return verdict if isinstance(verdict, Refused) else explain(messages)


def _is_of_client(attributes: Mapping[str, str]) -> bool:
    """Return True if attributes are an inventory of the update client, which always has the device's type."""
    return "device_type" in attributes or any(name.startswith(_OWN) for name in attributes)


def _release(known: ModelTwin) -> str | None:
    return known.installed.release if known.installed is not None else None


def _listed_models(twin: Twin, said: str) -> set[str]:
    """Return the models that the device's installer lists as they are recorded."""
    try:
        reports = {report.model: report for report in InstalledEvidence.from_bytes(said.encode()).models}
    except (ValidationError, ValueError):
        return {known.model for known in twin.models}
    matching = set()
    for known in twin.models:
        report, target = reports.get(known.model), known.installed
        if report is None or target is None:
            continue
        same = (report.active, report.active_release) == (target.package.digest, target.release)
        if same and (known.proof is not Proof.VERIFIED or report.verified == target.package.digest):
            matching.add(known.model)
    return matching


def _noted(twin: Twin, **notes: Any) -> Twin:
    """Change the driver's notes in the memo; None removes one."""
    memo = {name: value for name, value in {**twin.memo, **notes}.items() if value is not None}
    return twin if memo == twin.memo else replace(twin, memo=memo)
