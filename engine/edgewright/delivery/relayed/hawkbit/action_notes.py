"""Notes of jobs at a hawkBit, and the meaning of an action's status. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.relayed.job_notes import JobNote, read_note
from edgewright_schemas.delivery import Delivery

TARGET = "target"
"""Key in the memo: whether hawkBit has a target for the device."""

FINISHED = "finished"
ERROR = "error"
CANCELED = "canceled"
CANCELING = "canceling"
CLOSED = frozenset({FINISHED, ERROR, CANCELED})
_BEGUN = frozenset({"retrieved", "download", "warning"})
"""An action begins with ``running``. Devices report more than that; a hawkBit need not pass it on."""
_SERVER_MESSAGE = "Update Server: "
"""Prefix of hawkBit's own messages."""
_LAST_MESSAGES = 3
_ALL_INSTALLED = "All Chunks Installed"
"""What SWUpdate says once everything is installed; of a model's bundle it never closes the action."""
MAX_CLAIMS = 4
"""Installations without evidence after which there is none: two for each attempt of SWUpdate."""


@dataclass(frozen=True, slots=True)
class ActionNote(JobNote):
    """A note of one job at a hawkBit."""

    set_id: int
    action: int | None
    """None: it is not known whether hawkBit has been told."""
    begun: bool = False
    """The device was seen to have begun."""
    stopped_at: str = ""
    """When it was cancelled there; ISO 8601."""
    forced: bool = False
    """It was cancelled without the device's confirmation."""
    refused: tuple[int, ...] = ()
    """Sets whose assignment gave no action."""


def note_of(twin: Twin) -> ActionNote | None:
    """Return the note of a device's current job, if there is one."""
    return read_note(twin, ActionNote)


def action_of(twin: Twin) -> int | None:
    """Return the action of a device's current job, if it is known."""
    note = note_of(twin)
    return note.action if note is not None else None


def stage_of(status: str, stage: Stage) -> Stage:
    """Return the stage of a job after its action's status; never an earlier one."""
    if status == "downloaded":
        return Stage.INSTALLING
    return Stage.FETCHING if status in _BEGUN and stage is Stage.OFFERED else stage


def leaves_open(delivery: Delivery) -> bool:
    """Return whether a fleet's client leaves an action open that it has carried out."""
    return delivery.hawkbit is not None and delivery.hawkbit.bundle.format == "swu"


def count_installations(messages: Iterable[str]) -> int:
    """Count how often a device says that it has installed everything."""
    return sum(_ALL_INSTALLED in message for message in messages)


def summarise(messages: Iterable[str]) -> str:
    """Return the device's last messages in one line."""
    lines = [" ".join(each.split()) for each in messages if not each.startswith(_SERVER_MESSAGE)]
    return "; ".join([line for line in lines if line and '"evidence":' not in line][-_LAST_MESSAGES:])
