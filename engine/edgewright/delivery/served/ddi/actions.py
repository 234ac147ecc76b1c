"""What devices do with their actions, as changes of a twin. Pure; called by ``desk``.

An action is a job: its id is the job's number. What a device does is believed as far as it follows from what the
server itself has seen: nothing counts that is said of a bundle that was never fetched, and golden samples passed only
where the bundle's script has shown it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Job, Stage, Twin
from edgewright.delivery.bundles.evidence_log import find_pieces, reassemble, without_pieces
from edgewright.delivery.evidence import Verdict, Verified, judge, nonce_of, settle
from edgewright.delivery.served.ddi.failure_words import is_error, plain_words, reason_of
from edgewright.delivery.served.ddi.messages import Execution, Feedback, Finished

MOST_CLAIMS = 4
"""How often a device may say that all parts are installed, and show nothing: twice for each attempt of SWUpdate's."""
_MOST_WORDS = 12
_NOTES, _SETTLED = "notes", "settled"
"""In the memo: of the job that the device is at, and the action that ended for us before the device closed it."""


class ActionStatus(Enum):
    """How an action stands."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"
    SETTLED = "settled"
    """It has ended for us, and the device has still something to say of it."""


@dataclass(frozen=True, slots=True)
class ActionNotes:
    """What the server has seen of the job that a device is at; kept in the twin's memo."""

    job: int
    fetched: bool = False
    """Whether the bundle's last byte was sent."""
    claims: int = 0
    """How often it was said to be installed, and nothing was shown."""
    late: bool = False
    """Whether the device said that it is too late to call it off."""
    bundle: str = ""
    """Key of the bundle that was offered."""
    pieces: tuple[str, ...] = ()
    """Of evidence, since then."""
    errors: tuple[str, ...] = ()
    """What its client called errors."""


def notes_of(twin: Twin) -> ActionNotes:
    """Read the notes of the job that the device is at; without one, they are of no job."""
    number = twin.job.number if twin.job is not None else 0
    kept = twin.memo.get(_NOTES)
    if not isinstance(kept, dict) or kept.get("job") != number:
        return ActionNotes(number)
    listed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in kept.items()}
    return ActionNotes(**listed)


def with_notes(twin: Twin, notes: ActionNotes) -> Twin:
    """Keep notes; no news for people or rollouts."""
    if notes == notes_of(twin):
        return twin
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(notes).items()}
    return replace(twin, memo={**twin.memo, _NOTES: kept})


def standing(twin: Twin | None, number: int) -> ActionStatus:
    """Tell how an action stands."""
    if twin is None or not 0 < number <= twin.jobs:
        return ActionStatus.UNKNOWN
    if twin.job is not None and twin.job.number == number:
        return ActionStatus.OPEN
    return ActionStatus.SETTLED if twin.memo.get(_SETTLED) == number else ActionStatus.CLOSED


def is_called_off(twin: Twin) -> bool:
    """Tell whether the device is to stop what it is at."""
    return twin.job is not None and twin.job.stage is Stage.CANCELLING and not notes_of(twin).late


# ── what the server sees itself ───────────────────────────────────────────────────────────────────────────────────────


def offered(twin: Twin, number: int, bundle: str, now: datetime) -> Twin:
    """Note that a device was told of a job, and which bundle."""
    if standing(twin, number) is not ActionStatus.OPEN:
        return twin
    if twin.job is not None and twin.job.stage is Stage.WAITING:
        twin = twins.move(twin, number, Stage.OFFERED, now)
    return with_notes(twin, replace(notes_of(twin), bundle=bundle))


def fetching(twin: Twin, number: int, now: datetime) -> Twin:
    """Note that a device has begun to fetch the bundle."""
    job = twin.job
    early = job is not None and job.stage in {Stage.WAITING, Stage.OFFERED}
    return twins.move(twin, number, Stage.FETCHING, now) if early else twin


def fetched(twin: Twin, number: int, now: datetime) -> Twin:
    """Note that the bundle's last byte is on its way to the device."""
    if standing(twin, number) is not ActionStatus.OPEN:
        return twin
    seen = replace(notes_of(twin), fetched=True, pieces=(), errors=())
    return with_notes(twins.move(twin, number, Stage.INSTALLING, now), seen)


# ── what devices say ──────────────────────────────────────────────────────────────────────────────────────────────────


def told(twin: Twin, number: int, said: Feedback, wanted: Proof, now: datetime) -> Twin:
    """Note what a device says of an action. One that is not open changes nothing.

    Args:
        twin: The device.
        number: The action.
        said: What it says.
        wanted: What it is asked to show.
        now: Aware UTC time.
    """
    job = twin.job
    if job is None or job.number != number:
        ends = said.execution is Execution.CLOSED and standing(twin, number) is ActionStatus.SETTLED
        return _without(twin, _SETTLED) if ends else twin
    return _tidied(_told(_heard(twin, said.details), job, said, wanted, now))


def told_of_cancelation(twin: Twin, number: int, said: Feedback, wanted: Proof, now: datetime) -> Twin:
    """Note what a device says to an action's being called off. Where it was not called off, nothing changes."""
    job = twin.job
    if job is None or job.number != number or job.stage is not Stage.CANCELLING:
        return twin
    twin = _heard(twin, said.details)
    match said.execution:
        case Execution.CLOSED | Execution.CANCELED if said.finished is not Finished.FAILURE:
            return _tidied(_stopped(twin, job, wanted, now))
        case Execution.REJECTED | Execution.CLOSED | Execution.CANCELED:
            return with_notes(twin, replace(notes_of(twin), late=True))
        case _:
            return twin


def _told(twin: Twin, job: Job, said: Feedback, wanted: Proof, now: datetime) -> Twin:
    words, number = _words([*notes_of(twin).errors, *said.details]), job.number
    match said.execution:
        case Execution.CLOSED:
            return _closed(twin, job, said.finished, wanted, words, now)
        case Execution.REJECTED | Execution.CANCELED as ended:
            if job.stage is Stage.CANCELLING:
                return _stopped(twin, job, wanted, now)
            reason = "Rejected" if ended is Execution.REJECTED else "Cancelled"
            return twins.fail(twin, number, now, reason, words or "the device does not want it")
        case Execution.PROCEEDING if said.everything:
            return _everything_installed(twin, job, wanted, words, now)
        case Execution.DOWNLOADED:
            return twins.move(twin, number, Stage.INSTALLING, now)
        case _:
            return fetching(twin, number, now)


def _closed(twin: Twin, job: Job, finished: Finished, wanted: Proof, words: str, now: datetime) -> Twin:
    verdict, seen = _verdict(twin, job), notes_of(twin)
    if finished is Finished.FAILURE:
        if job.stage is Stage.CANCELLING and verdict is None:
            return twins.stopped(twin, job.number, now)
        # The script is the last thing a bundle does: what it has proved is so, whatever failed around it.
        proved = isinstance(verdict, Verified)
        return _settled(twin, job, wanted, verdict, words, now, succeeded=proved)
    if not seen.fetched:
        # Clients that keep no state say this of whatever is open when they start; who means it says it again.
        if seen.claims == 0:
            return with_notes(twin, replace(seen, claims=1))
        return twins.fail(twin, job.number, now, "NotProved", "it says that it installed what it never fetched")
    if finished is Finished.NONE and not isinstance(verdict, Verified):
        unclear = "it says neither that it is installed nor that it failed"
        return twins.bring_back(twin, job.number, now, "NotProved", f"{unclear}: {words}" if words else unclear)
    return _settled(twin, job, wanted, verdict, words, now, succeeded=True)


def _everything_installed(twin: Twin, job: Job, wanted: Proof, words: str, now: datetime) -> Twin:
    """Take all parts being installed for the end: SWUpdate says no more until it has booted a new system."""
    seen = notes_of(twin)
    if not seen.fetched:
        return fetching(twin, job.number, now)
    verdict = _verdict(twin, job)
    if verdict is None and wanted is Proof.VERIFIED and seen.claims + 1 < MOST_CLAIMS:
        # What the script said may be lost on the way; SWUpdate comes again by itself, and the script says it again.
        return with_notes(twin, replace(seen, claims=seen.claims + 1))
    ended = _settled(twin, job, wanted, verdict, words, now, succeeded=True)
    return replace(ended, memo={**ended.memo, _SETTLED: job.number})


def _stopped(twin: Twin, job: Job, wanted: Proof, now: datetime) -> Twin:
    """End a job that was called off: as done, where the device has shown that it was too late."""
    if isinstance(verdict := _verdict(twin, job), Verified):
        return _settled(twin, job, wanted, verdict, "", now, succeeded=True)
    if notes_of(twin).fetched:
        words = "it was called off after it was fetched whole; nothing was shown of what runs now"
        return twins.bring_back(twin, job.number, now, "Cancelled", words)
    return twins.stopped(twin, job.number, now)


def _settled(
    twin: Twin, job: Job, wanted: Proof, verdict: Verdict | None, words: str, now: datetime, *, succeeded: bool
) -> Twin:
    return settle(
        twin,
        job.number,
        now,
        wanted=wanted,
        succeeded=succeeded,
        verdict=verdict,
        words=words,
        reason=reason_of(words),
    )


def _verdict(twin: Twin, job: Job) -> Verdict | None:
    """Judge what the device showed of this job, as far as it can have installed anything."""
    seen = notes_of(twin)
    if not seen.fetched:
        return None
    return judge(job.model, job.target, nonce_of(job.model, job.target), reassemble(seen.pieces))


def _heard(twin: Twin, details: Iterable[str]) -> Twin:
    """Keep evidence, which there is only once the bundle was fetched, and what went wrong."""
    seen, said = notes_of(twin), tuple(details)
    errors = tuple(dict.fromkeys([*seen.errors, *(each for each in without_pieces(said) if is_error(each))]))
    pieces = find_pieces([*seen.pieces, *said]) if seen.fetched else ()
    return with_notes(twin, replace(seen, pieces=pieces, errors=errors[-_MOST_WORDS:]))


def _tidied(twin: Twin) -> Twin:
    """Forget the notes of a job that has ended."""
    kept = twin.memo.get(_NOTES)
    ended = kept is not None and (twin.job is None or kept.get("job") != twin.job.number)
    return _without(twin, _NOTES) if ended else twin


def _without(twin: Twin, note: str) -> Twin:
    return replace(twin, memo={name: value for name, value in twin.memo.items() if name != note})


def _words(details: Iterable[str]) -> str:
    """What people would want to read of a device's messages."""
    plain = dict.fromkeys(plain_words(detail) for detail in without_pieces(details))
    return "; ".join([words for words in plain if words][-_MOST_WORDS:])
