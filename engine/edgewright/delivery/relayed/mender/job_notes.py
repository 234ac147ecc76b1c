"""What is noted of a device's job at a Mender server, and what a deployment's status means. Pure.

A note is in the twin's memo under ``order``. It is written before Mender is told, so whoever comes after a crash knows
what to look for there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.relayed.twin_writes import noted
from edgewright_wire.canonical import digest_json, hex_of

MENDER_ID = "mender"
"""In the memo: Mender's id of the device."""
ASKED = "asked"
"""In the memo: when the device last gave Mender a sign of life; milliseconds."""
_ORDER = "order"
_TRIES = "tries"

SUCCEEDED = frozenset({"success", "already-installed"})
FAILED = "failure"
ABORTED = "aborted"
_INSTALLING = frozenset(
    {"installing", "rebooting", "pause_before_installing", "pause_before_rebooting", "pause_before_committing"}
)
_HOPELESS = {
    "noartifact": ("Incompatible", "Mender has no artifact for this device's type"),
    "decommissioned": ("Rejected", "the device was decommissioned in Mender"),
}
_LAST_LINES = 3
_MOST_WORDS = 500


@dataclass(frozen=True, slots=True)
class JobNote:
    """One job at the Mender server."""

    job: int
    name: str
    """Of the deployment."""
    device: str
    """Mender's id of it, when it was told."""
    attempt: int = 1
    deployment: str | None = None
    """None: it is not known whether Mender has been told."""
    begun: bool = False
    """The device was seen to have begun to install."""
    stopped_at: str = ""
    """When it was aborted; ISO 8601."""
    done_at: str = ""
    """When Mender was first seen to say that it has ended; ISO 8601."""


def note_of(twin: Twin) -> JobNote | None:
    """Find what is noted of the job that a device is at."""
    kept = twin.memo.get(_ORDER)
    if twin.job is None or not isinstance(kept, dict) or kept.get("job") != twin.job.number:
        return None
    return JobNote(**kept)


def deployment_of(twin: Twin) -> str | None:
    """Find the deployment of the job that a device is at."""
    note = note_of(twin)
    return note.deployment if note is not None else None


def keep(twin: Twin, note: JobNote) -> Twin:
    """Write a note, if the device is still at its job."""
    if twin.job is None or twin.job.number != note.job:
        return twin
    kept: dict[str, Any] = {"job": note.job, "name": note.name, "device": note.device, "attempt": note.attempt}
    kept |= {"deployment": note.deployment} if note.deployment is not None else {}
    kept |= {"begun": True} if note.begun else {}
    kept |= {"stopped_at": note.stopped_at} if note.stopped_at else {}
    kept |= {"done_at": note.done_at} if note.done_at else {}
    return noted(twin, **{_ORDER: kept})


def intend(twin: Twin, note: JobNote, version: str) -> Twin:
    """Write a note before Mender is told, and count how often the device was given the same."""
    if twin.job is None or twin.job.number != note.job:
        return twin
    tries = twin.memo.get(_TRIES)
    return keep(noted(twin, **{_TRIES: {**(tries if isinstance(tries, dict) else {}), version: note.attempt}}), note)


def next_attempt(twin: Twin, version: str) -> int:
    """Which time it would be that a device is given this."""
    tries = twin.memo.get(_TRIES)
    return int(tries.get(version, 0)) + 1 if isinstance(tries, dict) else 1


def offer(twin: Twin, note: JobNote, now: datetime) -> Twin:
    """Write a note with its deployment. The device has not heard of it yet, so this is no news of the device."""
    job = twin.job
    if job is None or job.number != note.job:
        return twin
    told = replace(twin, job=replace(job, stage=Stage.OFFERED, since=now)) if job.stage is Stage.WAITING else twin
    return keep(told, note)


def deployment_name(artifact: str, jobs: Iterable[tuple[str, int]]) -> str:
    """Name a deployment by what it installs and for which jobs: the same is never created twice."""
    return f"{artifact} {hex_of(digest_json(sorted([device, job] for device, job in jobs)))[:12]}"


def stage_of(status: str, stage: Stage) -> Stage:
    """How far a job is by its deployment's status; never back."""
    if status in _INSTALLING:
        return Stage.INSTALLING
    return Stage.FETCHING if status == "downloading" and stage is Stage.OFFERED else stage


def hopeless(status: str) -> tuple[str, str] | None:
    """The reason and the words for what Mender will never do."""
    return _HOPELESS.get(status)


def words_of(log: str) -> str:
    """The end of a device's log, in one line: what is an error, if anything is."""
    lines = [" ".join(line.split()) for line in log.splitlines() if line.strip() and '"evidence":' not in line]
    errors = [line for line in lines if " error: " in line or " fatal: " in line]
    return "; ".join((errors or lines)[-_LAST_LINES:])[-_MOST_WORDS:]
