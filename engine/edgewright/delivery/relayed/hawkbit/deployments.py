"""Start jobs at a hawkBit: assign the right distribution set to each device, many devices at once.

A device has at most one action of each set. So its note, written before hawkBit is told, says which action to look for
after a crash, and a set that the device had before is never taken for this time. Used by ``sync``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.relayed.bundling import Bundler, Order, Recipes
from edgewright.delivery.relayed.errors import Refused
from edgewright.delivery.relayed.hawkbit.action_notes import CLOSED, TARGET, ActionNote, note_of
from edgewright.delivery.relayed.hawkbit.api import Action, Hawkbit, among
from edgewright.delivery.relayed.hawkbit.distribution_sets import DistributionSets, name_of
from edgewright.delivery.relayed.hawkbit.options import Kinds
from edgewright.delivery.relayed.job_notes import mark_offered, write_note
from edgewright.delivery.relayed.jobs import reject
from edgewright.delivery.relayed.twin_writes import TwinWrites, chunks, noted
from edgewright.errors import DeliveryError

_NAMED_AT_ONCE = 100
_MOST_TRIES = 3


class Deployments:
    """Creates hawkBit's actions for jobs."""

    def __init__(
        self, hawkbit: Hawkbit, writes: TwinWrites, bundler: Bundler, kinds: Kinds, clock: Callable[[], datetime]
    ) -> None:
        self._hawkbit = hawkbit
        self._bundler = bundler
        self._writes = writes
        self._sets = DistributionSets(hawkbit, bundler, kinds)
        self._clock = clock

    def start(self, routes: Mapping[str, Route], current: Mapping[str, Twin]) -> None:
        """Start waiting jobs.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As far as it concerns every device.
        """
        groups: dict[tuple[str, str], tuple[Order, list[str]]] = {}
        recipes = Recipes(self._bundler)
        for device, twin in current.items():
            job = twin.job
            if job is not None and job.stage is Stage.WAITING and device in routes and twin.memo.get(TARGET):
                delivery = routes[device].delivery
                if (recipe := recipes.find(delivery)) is not None:
                    order = Order(job.model, job.target, delivery, recipe)
                    groups.setdefault((order.model, order.version), (order, []))[1].append(device)
        for order, devices in groups.values():
            for some in chunks(devices, _NAMED_AT_ONCE):
                self._start(order, [current[device] for device in some])
        recipes.check()

    def find(self, waiting: Sequence[Twin]) -> dict[str, Twin]:
        """Find the actions of jobs that hawkBit may have been told of; return the twins that have one."""
        notes = {twin.device: note for twin in waiting if (note := note_of(twin)) is not None and note.action is None}
        found: dict[str, int] = {}
        for devices in chunks(notes, _NAMED_AT_ONCE):
            sets = {notes[device].set_id for device in devices}
            query = f"{among('distributionSet.id', sorted(sets))};{among('target.controllerId', devices)}"
            for action in self._hawkbit.actions(query):
                if action.target in notes and action.set_id == notes[action.target].set_id:
                    found[action.target] = max(action.id, found.get(action.target, 0))
        return self._offered({device: replace(notes[device], action=action) for device, action in found.items()})

    def _start(self, order: Order, waiting: Sequence[Twin]) -> None:
        try:
            self._assign(order, waiting)
        except Refused:
            raise
        except DeliveryError as error:
            self._sets.forget()
            reject(self._writes, waiting, error, self._clock(), unless=_is_sent)

    def _assign(self, order: Order, waiting: Sequence[Twin]) -> None:
        adopted = self.find(waiting)
        notes = {
            twin.device: self._choose(order, twin, used)
            for twin, used in self._with_used(order, [twin for twin in waiting if twin.device not in adopted])
        }
        self._offered({device: note for device, note in notes.items() if note.action is not None})
        told = {device: note for device, note in notes.items() if note.action is None}
        self._writes.change(told, lambda twin: write_note(twin, told[twin.device]))
        by_set: dict[int, list[str]] = {}
        for device, note in told.items():
            by_set.setdefault(note.set_id, []).append(device)
        given: dict[str, int] = {}
        for set_id, devices in by_set.items():
            given |= self._hawkbit.assign(set_id, devices)
        done = self._offered(
            {device: replace(told[device], action=given[device]) for device in told if device in given}
        )
        self._unanswered({device: note for device, note in told.items() if device not in done})

    def _with_used(self, order: Order, waiting: Sequence[Twin]) -> list[tuple[Twin, list[Action]]]:
        """Find the actions that devices have, or had, of an order."""
        if not waiting:
            return []
        of_order = f'distributionSet.name=="{name_of(order)}";distributionSet.version=="{order.version}*"'
        used: dict[str, list[Action]] = {twin.device: [] for twin in waiting}
        for action in self._hawkbit.actions(f"{of_order};{among('target.controllerId', used)}"):
            if action.target in used:
                used[action.target].append(action)
        return [(twin, used[twin.device]) for twin in waiting]

    def _choose(self, order: Order, twin: Twin, used: Sequence[Action]) -> ActionNote:
        """Choose the set: that of an action that is open, else the first that the device never had."""
        assert twin.job is not None  # start gives only such
        before = note_of(twin)
        refused = before.refused if before is not None else ()
        for action in used:
            if action.status not in CLOSED and action.set_id is not None:
                return ActionNote(twin.job.number, action.set_id, action.id)
        if before is not None and before.set_id not in refused:
            return before
        taken = {action.set_id for action in used} | set(refused)
        attempt = 1
        while (set_id := self._sets.set_of(replace(order, attempt=attempt))) in taken:
            attempt += 1
        return ActionNote(twin.job.number, set_id, None, refused=refused)

    def _offered(self, notes: Mapping[str, ActionNote]) -> dict[str, Twin]:
        now = self._clock()
        return self._writes.change(notes, lambda twin: mark_offered(twin, replace(notes[twin.device], refused=()), now))

    def _unanswered(self, notes: Mapping[str, ActionNote]) -> None:
        """hawkBit made no action for these: the target is gone, or has a set assigned whose action was cleared away."""
        now = self._clock()

        def work(twin: Twin) -> Twin:
            note = notes[twin.device]
            if len(note.refused) + 1 >= _MOST_TRIES:
                return twins.fail(twin, note.job, now, "Rejected", f"{self._hawkbit.name} does not assign it")
            again = write_note(twin, replace(note, refused=(*note.refused, note.set_id)))
            return noted(again, **{TARGET: None})

        self._writes.change(notes, work)


def _is_sent(twin: Twin) -> bool:
    note = note_of(twin)
    return note is not None and note.action is not None
