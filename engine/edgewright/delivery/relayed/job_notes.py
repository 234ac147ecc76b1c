"""Notes of jobs in twins' memos: which action or deployment a customer's server has for a device's job. Pure.

A note is in the memo under ``order``. It is written before the server is told, so that after a crash the server can be
searched for it. Subclassed by ``hawkbit.action_notes`` and ``mender.deployment_notes``.
"""

from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.relayed.twin_writes import noted

POLLED_AT = "asked"
"""Key in the memo: when the device last polled the server; milliseconds of the server's clock."""
_NOTE = "order"


@dataclass(frozen=True, slots=True)
class JobNote:
    """A note of one job."""

    job: int

    def as_memo(self) -> dict[str, Any]:
        """Return it as JSON values, without fields that have their default."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        defaults = {each.name: each.default for each in fields(self) if each.default is not MISSING}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name not in defaults or value != defaults[name]
        }


Note = TypeVar("Note", bound=JobNote)


def read_note(twin: Twin, kind: type[Note]) -> Note | None:
    """Return the note of a device's current job, if there is one."""
    kept = twin.memo.get(_NOTE)
    if twin.job is None or not isinstance(kept, dict) or kept.get("job") != twin.job.number:
        return None
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    return kind(**values)


def write_note(twin: Twin, note: JobNote) -> Twin:
    """Write a note, if its job is still the device's current one."""
    if twin.job is None or twin.job.number != note.job:
        return twin
    return noted(twin, **{_NOTE: note.as_memo()})


def mark_offered(twin: Twin, note: JobNote, now: datetime) -> Twin:
    """Write a note once the server has the job. The device does not know of it yet, so it was not seen by this."""
    job = twin.job
    if job is None or job.number != note.job:
        return twin
    offered = replace(twin, job=replace(job, stage=Stage.OFFERED, since=now)) if job.stage is Stage.WAITING else twin
    return write_note(offered, note)
