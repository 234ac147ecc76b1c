"""Notes of jobs at a Mender server, and the meaning of a deployment's status. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.relayed.job_notes import JobNote, read_note, write_note
from edgewright.delivery.relayed.twin_writes import noted
from edgewright_wire.canonical import digest_json, hex_of

MENDER_ID = "mender"
"""Key in the memo: Mender's id of the device."""
_ATTEMPTS = "tries"

SUCCEEDED = frozenset({"success", "already-installed"})
FAILED = "failure"
ABORTED = "aborted"
_INSTALLING = frozenset(
    {"installing", "rebooting", "pause_before_installing", "pause_before_rebooting", "pause_before_committing"}
)
_IMPOSSIBLE = {
    "noartifact": ("Incompatible", "Mender has no artifact for this device's type"),
    "decommissioned": ("Rejected", "the device was decommissioned in Mender"),
}
_LAST_LINES = 3
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class DeploymentNote(JobNote):
    """A note of one job at a Mender server."""

    name: str
    """Of the deployment."""
    device: str
    """Mender's id of it, when it was told."""
    attempt: int
    deployment: str | None = None
    """None: it is not known whether Mender has been told."""
    begun: bool = False
    """The device was seen to have begun to install."""
    stopped_at: str = ""
    """When it was aborted; ISO 8601."""
    done_at: str = ""
    """When Mender first reported that it has ended; ISO 8601."""


def note_of(twin: Twin) -> DeploymentNote | None:
    """Return the note of a device's current job, if there is one."""
    return read_note(twin, DeploymentNote)


def deployment_of(twin: Twin) -> str | None:
    """Return the deployment of a device's current job, if it is known."""
    note = note_of(twin)
    return note.deployment if note is not None else None


def write_attempt(twin: Twin, note: DeploymentNote, version: str) -> Twin:
    """Write a note before Mender is told, and count the attempts to deliver a version."""
    if twin.job is None or twin.job.number != note.job:
        return twin
    return write_note(noted(twin, **{_ATTEMPTS: {**_attempts(twin), version: note.attempt}}), note)


def next_attempt(twin: Twin, version: str) -> int:
    """Return the number of the next attempt to deliver a version to a device."""
    return int(_attempts(twin).get(version, 0)) + 1


def deployment_name(artifact: str, jobs: Iterable[tuple[str, int]]) -> str:
    """Name a deployment by its artifact and its jobs, so that none is created twice."""
    return f"{artifact} {hex_of(digest_json(sorted([device, job] for device, job in jobs)))[:12]}"


def stage_of(status: str, stage: Stage) -> Stage:
    """Return the stage of a job after its deployment's status; never an earlier one."""
    if status in _INSTALLING:
        return Stage.INSTALLING
    return Stage.FETCHING if status == "downloading" and stage is Stage.OFFERED else stage


def impossible(status: str) -> tuple[str, str] | None:
    """Return the reason and message of a status that ends a job for good."""
    return _IMPOSSIBLE.get(status)


def summarise(log: str) -> str:
    """Return the end of a device's log in one line: its errors, if there are any."""
    lines = [" ".join(line.split()) for line in log.splitlines() if line.strip() and '"evidence":' not in line]
    errors = [line for line in lines if " error: " in line or " fatal: " in line]
    return "; ".join((errors or lines)[-_LAST_LINES:])[-_LONGEST:]


def _attempts(twin: Twin) -> dict[str, int]:
    kept = twin.memo.get(_ATTEMPTS)
    return kept if isinstance(kept, dict) else {}
