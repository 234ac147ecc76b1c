"""What is noted of a device's job at a hawkBit, and what an action's status means. Pure.

A note is in the twin's memo under ``order``. It is written before hawkBit is told, so whoever comes after a crash knows
what to look for there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.relayed.twin_writes import noted

TARGET = "target"
"""In the memo: whether hawkBit has a target for the device."""
ASKED = "asked"
"""In the memo: when the device asked hawkBit last, in hawkBit's own milliseconds."""
_ORDER = "order"

FINISHED = "finished"
ERROR = "error"
CANCELED = "canceled"
CANCELING = "canceling"
CLOSED = frozenset({FINISHED, ERROR, CANCELED})
_BEGUN = frozenset({"retrieved", "download", "warning"})
"""``running`` is what an action begins with. Devices say more than that; a hawkBit need not pass it on."""
_OWN_WORDS = "Update Server: "
"""How hawkBit's own messages begin."""
_LAST_WORDS = 3


@dataclass(frozen=True, slots=True)
class JobNote:
    """One job at the hawkBit."""

    job: int
    set_id: int
    action: int | None = None
    """None: it is not known whether hawkBit has been told."""
    begun: bool = False
    """The device was seen to have begun."""
    stopped_at: str = ""
    """When it was cancelled there; ISO 8601."""
    forced: bool = False
    """It was cancelled without the device's word."""
    refused: tuple[int, ...] = ()
    """Sets that gave no action."""


def note_of(twin: Twin) -> JobNote | None:
    """Find what is noted of the job that a device is at."""
    kept = twin.memo.get(_ORDER)
    if twin.job is None or not isinstance(kept, dict) or kept.get("job") != twin.job.number:
        return None
    return JobNote(**{**kept, "refused": tuple(kept.get("refused", ()))})


def action_of(twin: Twin) -> int | None:
    """Find the action of the job that a device is at."""
    note = note_of(twin)
    return note.action if note is not None else None


def keep(twin: Twin, note: JobNote) -> Twin:
    """Write a note, if the device is still at its job."""
    if twin.job is None or twin.job.number != note.job:
        return twin
    kept: dict[str, Any] = {"job": note.job, "set_id": note.set_id, "action": note.action}
    kept |= {"begun": True} if note.begun else {}
    kept |= {"stopped_at": note.stopped_at} if note.stopped_at else {}
    kept |= {"forced": True} if note.forced else {}
    kept |= {"refused": list(note.refused)} if note.refused else {}
    return noted(twin, **{_ORDER: kept})


def offer(twin: Twin, note: JobNote, now: datetime) -> Twin:
    """Write a note with its action. The device has not heard of it yet, so this is no news of the device."""
    job = twin.job
    if job is None or job.number != note.job:
        return twin
    told = replace(twin, job=replace(job, stage=Stage.OFFERED, since=now)) if job.stage is Stage.WAITING else twin
    return keep(told, note)


def stage_of(status: str, stage: Stage) -> Stage:
    """How far a job is by its action's status; never back."""
    if status == "downloaded":
        return Stage.INSTALLING
    return Stage.FETCHING if status in _BEGUN and stage is Stage.OFFERED else stage


def words_of(messages: Iterable[str]) -> str:
    """What the device said last, in one line."""
    said = [" ".join(each.split()) for each in messages if not each.startswith(_OWN_WORDS)]
    return "; ".join([each for each in said if each and '"evidence":' not in each][-_LAST_WORDS:])
