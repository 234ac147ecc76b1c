"""Synchronise twins with one hawkBit: start and cancel jobs there, and read their results. Opened by ``driver``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof, Route
from edgewright.core.fleet.twins import Job, Stage, Twin
from edgewright.delivery.bundles.evidence_log import find_pieces, reassemble, without_pieces
from edgewright.delivery.evidence import judge, settle
from edgewright.delivery.relayed.bundling import Bundler, Order
from edgewright.delivery.relayed.hawkbit import job_notes as notes
from edgewright.delivery.relayed.hawkbit.api import Action, Hawkbit, among
from edgewright.delivery.relayed.hawkbit.deployments import Deployments
from edgewright.delivery.relayed.hawkbit.job_notes import action_of, keep, note_of, stage_of, words_of
from edgewright.delivery.relayed.hawkbit.options import Options
from edgewright.delivery.relayed.hawkbit.targets import Targets
from edgewright.delivery.relayed.twin_writes import TwinWrites, chunks, dropped, noted

_NAMED_AT_ONCE = 100


class HawkbitSync:
    """Implements worker.Sync."""

    def __init__(
        self, hawkbit: Hawkbit, ledger: TwinWrites, bundler: Bundler, clock: Callable[[], datetime], options: Options
    ) -> None:
        self._hawkbit = hawkbit
        self._ledger = ledger
        self._clock = clock
        self._force_after = options.force_after
        self._roster = Targets(hawkbit, ledger, clock, create=options.create_targets)
        self._launcher = Deployments(hawkbit, ledger, bundler, options.kinds, clock)

    def close(self) -> None:
        """End its connections."""
        self._hawkbit.close()

    def step(self, routes: Mapping[str, Route], known: Sequence[Twin]) -> None:
        """As in worker.Sync."""
        now = {twin.device: twin for twin in known}
        now |= self._roster.introduce(routes, now)
        now |= self._roster.look(routes, now)
        now |= self._watch(routes, now)
        now |= self._drop(now)
        idle = [device for device, twin in now.items() if device in routes and self._next(twin) is not twin]
        now |= self._ledger.change(idle, self._next)
        self._launcher.start(routes, now)

    def _next(self, twin: Twin) -> Twin:
        return twins.next_job(twin, self._clock())

    def _watch(self, routes: Mapping[str, Route], known: Mapping[str, Twin]) -> dict[str, Twin]:
        """Read the state of running actions; return the twins that changed."""
        running = {id_: twin for twin in known.values() if (id_ := action_of(twin)) is not None}
        changed: dict[str, Twin] = {}
        for ids in chunks(running, _NAMED_AT_ONCE):
            found = {action.id: action for action in self._hawkbit.actions(among("id", ids))}
            for id_ in ids:
                twin = running[id_]
                changed |= self._follow(twin, found.get(id_, Action(id_, twin.device, "")), routes.get(twin.device))
        return changed

    def _follow(self, twin: Twin, action: Action, route: Route | None) -> dict[str, Twin]:
        job = twin.job
        assert job is not None  # _watch gives only such
        if action.status in {notes.FINISHED, notes.ERROR}:
            return self._end(job, action, route)
        if action.status in {notes.CANCELED, ""}:
            return self._gone(job, action)
        if job.stage is Stage.CANCELLING:
            return self._call_off(twin, action)
        if (stage := stage_of(action.status, job.stage)) is job.stage:
            return {}
        now = self._clock()
        return self._ledger.change([twin.device], lambda twin: twins.move(_begun(twin), job.number, stage, now))

    def _end(self, job: Job, action: Action, route: Route | None) -> dict[str, Twin]:
        """Settle a job whose action the device has closed."""
        messages = self._hawkbit.messages(action.target, action.id)
        wanted, verdict = Proof.INSTALLED, None
        if route is not None:
            wanted = route.proof
            said = [*messages, *reassemble(find_pieces(messages))]
            verdict = judge(job.model, job.target, Order(job.model, job.target, route.delivery).nonce, said)
        now, succeeded, words = self._clock(), action.status == notes.FINISHED, words_of(without_pieces(messages))
        return self._ledger.change(
            [action.target],
            lambda twin: settle(
                twin, job.number, now, wanted=wanted, succeeded=succeeded, verdict=verdict, words=words
            ),
        )

    def _gone(self, job: Job, action: Action) -> dict[str, Twin]:
        """Settle a job whose action was cancelled, by us or somebody else, or is gone from hawkBit."""
        now = self._clock()
        words = "it was called off in hawkBit" if action.status else f"action {action.id} is gone from hawkBit"

        def work(twin: Twin) -> Twin:
            note = note_of(twin)
            called_off = twin.job is not None and twin.job.stage is Stage.CANCELLING
            if called_off and note is not None and note.forced and note.begun:
                return twins.bring_back(twin, job.number, now, "Cancelled", "called off after the device had begun")
            if called_off:
                return twins.stopped(twin, job.number, now)
            known = twin if action.status else noted(twin, **{notes.TARGET: None})
            return twins.fail(known, job.number, now, "Cancelled", words)

        return self._ledger.change([action.target], work)

    def _call_off(self, twin: Twin, action: Action) -> dict[str, Twin]:
        """Cancel the action, and force it closed once the device has had time to confirm."""
        note, now = note_of(twin), self._clock()
        assert note is not None  # _watch gives only such
        if not note.stopped_at:
            if action.status != notes.CANCELING:
                self._hawkbit.call_off(twin.device, action.id, force=False)
            stopped = replace(note, stopped_at=now.isoformat())
            return self._ledger.change([twin.device], lambda twin: keep(twin, stopped))
        if action.status != notes.CANCELING or now - datetime.fromisoformat(note.stopped_at) < self._force_after:
            return {}
        begun = note.begun or bool(words_of(self._hawkbit.messages(twin.device, action.id)))
        forced = replace(note, forced=True, begun=begun)
        changed = self._ledger.change([twin.device], lambda twin: keep(twin, forced))
        self._hawkbit.call_off(twin.device, action.id, force=True)
        return changed

    def _drop(self, known: Mapping[str, Twin]) -> dict[str, Twin]:
        """Drop jobs that were cancelled before hawkBit was told, once it is certain that it was not."""
        off = [twin for twin in known.values() if _is_off(twin) and action_of(twin) is None]
        changed = self._launcher.find(off)
        now = self._clock()
        never = [twin.device for twin in off if twin.device not in changed]
        return changed | self._ledger.change(
            never, lambda twin: dropped(twin, twin.job.number, now) if twin.job is not None and _is_off(twin) else twin
        )


def _is_off(twin: Twin) -> bool:
    return twin.job is not None and twin.job.stage is Stage.CANCELLING


def _begun(twin: Twin) -> Twin:
    note = note_of(twin)
    return keep(twin, replace(note, begun=True)) if note is not None else twin
