"""Synchronise twins with one hawkBit: start and cancel jobs there, and read their results. Opened by ``driver``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof, Route
from edgewright.core.fleet.twins import Job, Stage, Twin
from edgewright.delivery.bundles.evidence_log import find_pieces, reassemble, without_pieces
from edgewright.delivery.bundles.failure_words import reason_of
from edgewright.delivery.evidence import Verdict, Verified, assess, settle
from edgewright.delivery.relayed.bundling import Bundler, Order
from edgewright.delivery.relayed.hawkbit import action_notes
from edgewright.delivery.relayed.hawkbit.action_notes import (
    MAX_CLAIMS,
    action_of,
    count_installations,
    leaves_open,
    note_of,
    stage_of,
    summarise,
)
from edgewright.delivery.relayed.hawkbit.api import Action, Hawkbit, among
from edgewright.delivery.relayed.hawkbit.deployments import Deployments
from edgewright.delivery.relayed.hawkbit.options import Options
from edgewright.delivery.relayed.hawkbit.targets import Targets
from edgewright.delivery.relayed.job_notes import write_note
from edgewright.delivery.relayed.jobs import drop_unsent, is_cancelling, next_jobs
from edgewright.delivery.relayed.twin_writes import TwinWrites, chunks, noted

_NAMED_AT_ONCE = 100
_READ_AT_ONCE = 100
"""Open actions whose messages are read in one pass; the next passes read the others'."""


class HawkbitSync:
    """Implements worker.Sync."""

    def __init__(
        self, hawkbit: Hawkbit, writes: TwinWrites, bundler: Bundler, clock: Callable[[], datetime], options: Options
    ) -> None:
        self._hawkbit = hawkbit
        self._writes = writes
        self._clock = clock
        self._force_after = options.force_after
        self._passes = 0
        self._read: dict[int, int] = {}
        """When the messages of open actions were last read: the pass."""
        self._targets = Targets(hawkbit, writes, clock, create=options.create_targets)
        self._deployments = Deployments(hawkbit, writes, bundler, options.kinds, clock)

    def close(self) -> None:
        """End its connections."""
        self._hawkbit.close()

    def step(self, routes: Mapping[str, Route], devices: Sequence[Twin]) -> None:
        """As in worker.Sync."""
        current = {twin.device: twin for twin in devices}
        current |= self._targets.match(routes, current)
        current |= self._targets.read_polls(routes, current)
        current |= self._read_actions(routes, current)
        current |= self._drop_unsent(current)
        current |= next_jobs(self._writes, routes, current, self._clock)
        self._deployments.start(routes, current)

    def _read_actions(self, routes: Mapping[str, Route], current: Mapping[str, Twin]) -> dict[str, Twin]:
        """Read the state of running actions; return the twins that changed."""
        running = {id_: twin for twin in current.values() if (id_ := action_of(twin)) is not None}
        self._passes += 1
        self._read = {id_: at for id_, at in self._read.items() if id_ in running}
        running = dict(sorted(running.items(), key=lambda item: self._read.get(item[0], 0)))
        changed: dict[str, Twin] = {}
        for ids in chunks(running, _NAMED_AT_ONCE):
            found = {action.id: action for action in self._hawkbit.actions(among("id", ids))}
            for id_ in ids:
                twin = running[id_]
                changed |= self._read_action(
                    twin, found.get(id_, Action(id_, twin.device, "")), routes.get(twin.device)
                )
        return changed

    def _read_action(self, twin: Twin, action: Action, route: Route | None) -> dict[str, Twin]:
        job = twin.job
        assert job is not None  # _read_actions gives only such
        if action.status in {action_notes.FINISHED, action_notes.ERROR}:
            return self._end(job, action, route)
        if action.status in {action_notes.CANCELED, ""}:
            return self._end_cancelled(job, action, route)
        if job.stage is Stage.CANCELLING:
            return self._cancel(twin, action)
        if self._is_installed(twin, action, route):
            return self._end_open(job, action, route)
        if (stage := stage_of(action.status, job.stage)) is job.stage:
            return {}
        now = self._clock()
        return self._writes.change([twin.device], lambda twin: twins.move(_begun(twin), job.number, stage, now))

    def _is_installed(self, twin: Twin, action: Action, route: Route | None) -> bool:
        """Return whether SWUpdate has installed everything of an action, which it then leaves open for ever."""
        job = twin.job
        if job is None or route is None or not leaves_open(route.delivery) or twin.taken < job.version:
            return False
        if sum(at == self._passes for at in self._read.values()) >= _READ_AT_ONCE:
            return False
        self._read[action.id] = self._passes
        messages = self._hawkbit.messages(action.target, action.id)
        claims = count_installations(messages)
        proved = route.proof is Proof.INSTALLED or _judge(job, route, messages) is not None
        return claims >= (1 if proved else MAX_CLAIMS)

    def _end_open(self, job: Job, action: Action, route: Route | None) -> dict[str, Twin]:
        """Settle a job whose action stays open, and call the action off: the device would install it at each poll.

        After a crash in between, the action is found as cancelled, and settled by its messages all the same.
        """
        if action.status != action_notes.CANCELING:
            self._hawkbit.cancel(action.target, action.id, force=False)
        return self._end(job, action, route, succeeded=True)

    def _end(self, job: Job, action: Action, route: Route | None, *, succeeded: bool | None = None) -> dict[str, Twin]:
        """Settle a job whose action has ended, by default as the device has closed it."""
        messages = self._hawkbit.messages(action.target, action.id)
        wanted, verdict = Proof.INSTALLED, None
        if route is not None:
            wanted, verdict = route.proof, _judge(job, route, messages)
        if succeeded is None:
            succeeded = action.status == action_notes.FINISHED
        now, words = self._clock(), summarise(without_pieces(messages))
        return self._writes.change(
            [action.target],
            lambda twin: settle(
                twin,
                job.number,
                now,
                wanted=wanted,
                succeeded=succeeded,
                verdict=verdict,
                words=words,
                reason=reason_of(words),
            ),
        )

    def _end_cancelled(self, job: Job, action: Action, route: Route | None) -> dict[str, Twin]:
        """Settle a job whose action was cancelled, by us or somebody else, or is gone from hawkBit."""
        if action.status and route is not None and leaves_open(route.delivery):
            messages = self._hawkbit.messages(action.target, action.id)
            verdict = _judge(job, route, messages)
            too_late = isinstance(verdict, Verified) or (job.stage is not Stage.CANCELLING and verdict is not None)
            installed = count_installations(messages) and route.proof is Proof.INSTALLED
            if too_late or (installed and job.stage is not Stage.CANCELLING):
                return self._end(job, action, route, succeeded=True)
        now = self._clock()
        words = "it was cancelled in hawkBit" if action.status else f"action {action.id} is gone from hawkBit"

        def work(twin: Twin) -> Twin:
            note = note_of(twin)
            cancelling = is_cancelling(twin)
            if cancelling and note is not None and note.forced and note.begun:
                return twins.bring_back(twin, job.number, now, "Cancelled", "cancelled after the device had begun")
            if cancelling:
                return twins.stopped(twin, job.number, now)
            unmatched = twin if action.status else noted(twin, **{action_notes.TARGET: None})
            return twins.fail(unmatched, job.number, now, "Cancelled", words)

        return self._writes.change([action.target], work)

    def _cancel(self, twin: Twin, action: Action) -> dict[str, Twin]:
        """Cancel the action, and force it closed once the device has had time to confirm."""
        note, now = note_of(twin), self._clock()
        assert note is not None  # _read_actions gives only such
        if not note.stopped_at:
            if action.status != action_notes.CANCELING:
                self._hawkbit.cancel(twin.device, action.id, force=False)
            stopped = replace(note, stopped_at=now.isoformat())
            return self._writes.change([twin.device], lambda twin: write_note(twin, stopped))
        if action.status != action_notes.CANCELING or now - datetime.fromisoformat(note.stopped_at) < self._force_after:
            return {}
        begun = note.begun or bool(summarise(self._hawkbit.messages(twin.device, action.id)))
        forced = replace(note, forced=True, begun=begun)
        changed = self._writes.change([twin.device], lambda twin: write_note(twin, forced))
        self._hawkbit.cancel(twin.device, action.id, force=True)
        return changed

    def _drop_unsent(self, current: Mapping[str, Twin]) -> dict[str, Twin]:
        """Drop jobs that were cancelled before hawkBit was told, once it is certain that it was not."""
        unsent = [twin for twin in current.values() if is_cancelling(twin) and action_of(twin) is None]
        return drop_unsent(self._writes, unsent, self._deployments.find, self._clock())


def _judge(job: Job, route: Route, messages: Sequence[str]) -> Verdict | None:
    """Judge the evidence in an action's messages."""
    nonce = Order(job.model, job.target, route.delivery).nonce
    return assess(job.model, job.target, nonce, [*messages, *reassemble(find_pieces(messages))])


def _begun(twin: Twin) -> Twin:
    note = note_of(twin)
    return write_note(twin, replace(note, begun=True)) if note is not None else twin
