"""Applies devices' requests and feedback to their twins. Pure; called by ``service``.

An action is a job: its id is the job's number. Feedback is accepted as far as the server's own observations confirm it:
feedback on a bundle that was never fetched changes nothing, and golden samples have passed only if evidence of the
bundle's script says so.
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
from edgewright.delivery.bundles.failure_words import explain_failure, is_error, plain_words
from edgewright.delivery.evidence import Verdict, Verified, assess, nonce_of, settle
from edgewright.delivery.served.ddi.messages import Execution, Feedback, Finished

MAX_CLAIMS = 4
"""Reports without evidence that all parts are installed, before the job ends: two for each attempt of SWUpdate."""
_MOST_WORDS = 12
_NOTES, _SETTLED = "notes", "settled"
"""Keys of the memo: notes on the current job, and the action that was settled before the device closed it."""


class ActionStatus(Enum):
    """Status of an action."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"
    SETTLED = "settled"
    """Its job has ended, and the device has not closed it yet."""


@dataclass(frozen=True, slots=True)
class ActionNotes:
    """The server's observations of a device's current job; stored in the twin's memo under these names."""

    job: int
    fetched: bool = False
    """True if the bundle's last byte was sent."""
    claims: int = 0
    """Reports of success without evidence."""
    late: bool = False
    """True if the device refused the cancellation."""
    bundle: str = ""
    """Key of the bundle that was offered."""
    pieces: tuple[str, ...] = ()
    """Pieces of evidence, since it was fetched."""
    errors: tuple[str, ...] = ()
    """Messages that its client marked as errors."""


def notes_of(twin: Twin) -> ActionNotes:
    """Read the notes on the device's current job; empty notes if there are none."""
    number = twin.job.number if twin.job is not None else 0
    kept = twin.memo.get(_NOTES)
    if not isinstance(kept, dict) or kept.get("job") != number:
        return ActionNotes(number)
    listed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in kept.items()}
    return ActionNotes(**listed)


def with_notes(twin: Twin, notes: ActionNotes) -> Twin:
    """Store notes in the twin's memo; its sequence stays, because no rollout depends on them."""
    if notes == notes_of(twin):
        return twin
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(notes).items()}
    return replace(twin, memo={**twin.memo, _NOTES: kept})


def status_of(twin: Twin | None, number: int) -> ActionStatus:
    """Return the status of an action."""
    if twin is None or not 0 < number <= twin.jobs:
        return ActionStatus.UNKNOWN
    if twin.job is not None and twin.job.number == number:
        return ActionStatus.OPEN
    return ActionStatus.SETTLED if twin.memo.get(_SETTLED) == number else ActionStatus.CLOSED


def is_cancelling(twin: Twin) -> bool:
    """Return True if the device is asked to cancel its current action."""
    return twin.job is not None and twin.job.stage is Stage.CANCELLING and not notes_of(twin).late


# ── observations of the server ────────────────────────────────────────────────────────────────────────────


def offered(twin: Twin, number: int, bundle: str, now: datetime) -> Twin:
    """Record that a job and its bundle were offered to the device."""
    if status_of(twin, number) is not ActionStatus.OPEN:
        return twin
    if twin.job is not None and twin.job.stage is Stage.WAITING:
        twin = twins.move(twin, number, Stage.OFFERED, now)
    return with_notes(twin, replace(notes_of(twin), bundle=bundle))


def fetching(twin: Twin, number: int, now: datetime) -> Twin:
    """Record that a device has begun to fetch the bundle."""
    job = twin.job
    early = job is not None and job.stage in {Stage.WAITING, Stage.OFFERED}
    return twins.move(twin, number, Stage.FETCHING, now) if early else twin


def fetched(twin: Twin, number: int, now: datetime) -> Twin:
    """Record that the bundle's last byte is on its way to the device."""
    if status_of(twin, number) is not ActionStatus.OPEN:
        return twin
    seen = replace(notes_of(twin), fetched=True, pieces=(), errors=())
    return with_notes(twins.move(twin, number, Stage.INSTALLING, now), seen)


# ── feedback of devices ───────────────────────────────────────────────────────────────────────────────────


def apply_feedback(twin: Twin, number: int, feedback: Feedback, wanted: Proof, now: datetime) -> Twin:
    """Apply a device's feedback on an action. An action that is not open changes nothing.

    Args:
        twin: The device.
        number: The action.
        feedback: Of the device.
        wanted: The proof it has to give.
        now: Aware UTC time.
    """
    job = twin.job
    if job is None or job.number != number:
        ends = feedback.execution is Execution.CLOSED and status_of(twin, number) is ActionStatus.SETTLED
        return _without_note(twin, _SETTLED) if ends else twin
    return _drop_ended_notes(_apply_feedback(_keep_details(twin, feedback.details), job, feedback, wanted, now))


def apply_cancellation_feedback(twin: Twin, number: int, feedback: Feedback, wanted: Proof, now: datetime) -> Twin:
    """Apply a device's feedback on a cancellation. Without a cancellation, nothing changes."""
    job = twin.job
    if job is None or job.number != number or job.stage is not Stage.CANCELLING:
        return twin
    twin = _keep_details(twin, feedback.details)
    match feedback.execution:
        case Execution.CLOSED | Execution.CANCELED if feedback.finished is not Finished.FAILURE:
            return _drop_ended_notes(_stopped(twin, job, wanted, now))
        case Execution.REJECTED | Execution.CLOSED | Execution.CANCELED:
            return with_notes(twin, replace(notes_of(twin), late=True))
        case _:
            return twin


def _apply_feedback(twin: Twin, job: Job, feedback: Feedback, wanted: Proof, now: datetime) -> Twin:
    words, number = _words([*notes_of(twin).errors, *feedback.details]), job.number
    match feedback.execution:
        case Execution.CLOSED:
            return _closed(twin, job, feedback, wanted, words, now)
        case Execution.REJECTED | Execution.CANCELED as ended:
            if job.stage is Stage.CANCELLING:
                return _stopped(twin, job, wanted, now)
            reason = "Rejected" if ended is Execution.REJECTED else "Cancelled"
            return twins.fail(twin, number, now, reason, words or "the device does not want it")
        case Execution.PROCEEDING if feedback.everything:
            return _everything_installed(twin, job, wanted, words, now)
        case Execution.DOWNLOADED:
            return twins.move(twin, number, Stage.INSTALLING, now)
        case _:
            return fetching(twin, number, now)


def _closed(twin: Twin, job: Job, feedback: Feedback, wanted: Proof, words: str, now: datetime) -> Twin:
    verdict, seen, finished = _verdict(twin, job), notes_of(twin), feedback.finished
    if finished is Finished.FAILURE:
        if job.stage is Stage.CANCELLING and verdict is None:
            return twins.stopped(twin, job.number, now)
        # The script runs last in a bundle: its evidence of success holds, whatever failed around it.
        proved = isinstance(verdict, Verified)
        return _settle(twin, job, wanted, verdict, words, now, succeeded=proved, clock=feedback.clock)
    if not seen.fetched:
        # Clients without a stored state report this for any open action when they start; a real success is repeated.
        if seen.claims == 0:
            return with_notes(twin, replace(seen, claims=1))
        return twins.fail(twin, job.number, now, "NotProved", "it says that it installed what it never fetched")
    if finished is Finished.NONE and not isinstance(verdict, Verified):
        unclear = "it says neither that it is installed nor that it failed"
        return twins.bring_back(twin, job.number, now, "NotProved", f"{unclear}: {words}" if words else unclear)
    return _settle(twin, job, wanted, verdict, words, now, succeeded=True)


def _everything_installed(twin: Twin, job: Job, wanted: Proof, words: str, now: datetime) -> Twin:
    """End the job when all parts are installed: SWUpdate reports no more until it has booted a new system."""
    seen = notes_of(twin)
    if not seen.fetched:
        return fetching(twin, job.number, now)
    verdict = _verdict(twin, job)
    if verdict is None and wanted is Proof.VERIFIED and seen.claims + 1 < MAX_CLAIMS:
        # The script's evidence may be lost on the way; SWUpdate retries by itself, and the script repeats it.
        return with_notes(twin, replace(seen, claims=seen.claims + 1))
    ended = _settle(twin, job, wanted, verdict, words, now, succeeded=True)
    return replace(ended, memo={**ended.memo, _SETTLED: job.number})


def _stopped(twin: Twin, job: Job, wanted: Proof, now: datetime) -> Twin:
    """End a cancelled job; it has succeeded if the device's evidence shows that it was too late."""
    if isinstance(verdict := _verdict(twin, job), Verified):
        return _settle(twin, job, wanted, verdict, "", now, succeeded=True)
    if notes_of(twin).fetched:
        words = "it was cancelled after it was fetched whole; there is no evidence of what runs now"
        return twins.bring_back(twin, job.number, now, "Cancelled", words)
    return twins.stopped(twin, job.number, now)


def _settle(
    twin: Twin,
    job: Job,
    wanted: Proof,
    verdict: Verdict | None,
    words: str,
    now: datetime,
    *,
    succeeded: bool,
    clock: datetime | None = None,
) -> Twin:
    reason, words = explain_failure(words, clock, now)
    return settle(
        twin,
        job.number,
        now,
        wanted=wanted,
        succeeded=succeeded,
        verdict=verdict,
        words=words,
        reason=reason,
    )


def _verdict(twin: Twin, job: Job) -> Verdict | None:
    """Judge the evidence of this job; None before the bundle was fetched."""
    seen = notes_of(twin)
    if not seen.fetched:
        return None
    return assess(job.model, job.target, nonce_of(job.model, job.target), reassemble(seen.pieces))


def _keep_details(twin: Twin, details: Iterable[str]) -> Twin:
    """Keep the errors in a device's messages, and, after the bundle was fetched, its evidence."""
    seen, feedback = notes_of(twin), tuple(details)
    errors = tuple(dict.fromkeys([*seen.errors, *(each for each in without_pieces(feedback) if is_error(each))]))
    pieces = find_pieces([*seen.pieces, *feedback]) if seen.fetched else ()
    return with_notes(twin, replace(seen, pieces=pieces, errors=errors[-_MOST_WORDS:]))


def _drop_ended_notes(twin: Twin) -> Twin:
    """Drop the notes of a job that has ended."""
    kept = twin.memo.get(_NOTES)
    ended = kept is not None and (twin.job is None or kept.get("job") != twin.job.number)
    return _without_note(twin, _NOTES) if ended else twin


def _without_note(twin: Twin, note: str) -> Twin:
    return replace(twin, memo={name: value for name, value in twin.memo.items() if name != note})


def _words(details: Iterable[str]) -> str:
    """Return a device's messages without evidence and marks, for people."""
    plain = dict.fromkeys(plain_words(detail) for detail in without_pieces(details))
    return "; ".join([words for words in plain if words][-_MOST_WORDS:])
