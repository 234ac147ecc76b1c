"""Starts jobs at a Mender server: the artifact, and one deployment for many devices that are given the same.

Deployments are named by the jobs they are for, and the name is noted before Mender is told: after a crash it is looked
for by that name. Used by ``sync``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Job, Stage, Twin
from edgewright.delivery.relayed.bundling import Bundler, Order, Recipes
from edgewright.delivery.relayed.errors import Refused
from edgewright.delivery.relayed.job_notes import mark_offered
from edgewright.delivery.relayed.jobs import reject
from edgewright.delivery.relayed.mender.api import Mender
from edgewright.delivery.relayed.mender.deployment_notes import (
    MENDER_ID,
    DeploymentNote,
    deployment_name,
    next_attempt,
    note_of,
    write_attempt,
)
from edgewright.delivery.relayed.twin_writes import TwinWrites, chunks
from edgewright.errors import DeliveryError

_DEVICES_AT_ONCE = 500
_NAMED_AT_ONCE = 20


class Deployments:
    """Creates Mender's deployments for jobs."""

    def __init__(self, mender: Mender, writes: TwinWrites, bundler: Bundler, clock: Callable[[], datetime]) -> None:
        self._mender = mender
        self._writes = writes
        self._bundler = bundler
        self._clock = clock
        self._artifacts: set[str] = set()

    def start(self, routes: Mapping[str, Route], current: Mapping[str, Twin]) -> None:
        """Start waiting jobs.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: As far as it concerns every device.
        """
        waiting = [
            twin
            for device, twin in current.items()
            if twin.job is not None and twin.job.stage is Stage.WAITING and device in routes and MENDER_ID in twin.memo
        ]
        found = self.find(waiting)
        groups: dict[tuple[str, str], tuple[Order, list[Twin]]] = {}
        recipes = Recipes(self._bundler)
        for twin in waiting:
            recipe = recipes.find(routes[twin.device].delivery)
            if twin.device not in found and recipe is not None and twin.job is not None:
                order = _order(twin, twin.job, routes[twin.device], recipe)
                note = note_of(twin)
                key = (order.name, note.name if note is not None else "")
                groups.setdefault(key, (order, []))[1].append(twin)
        for (_, name), (order, members) in groups.items():
            for some in chunks(members, _DEVICES_AT_ONCE):
                self._start(order, name, some)
        recipes.check()

    def find(self, unsure: Sequence[Twin]) -> dict[str, Twin]:
        """Find deployments of jobs that Mender may have been told of; return the twins that have one."""
        notes = {
            twin.device: note for twin in unsure if (note := note_of(twin)) is not None and note.deployment is None
        }
        ids: dict[str, str] = {}
        for names in chunks(sorted({note.name for note in notes.values()}), _NAMED_AT_ONCE):
            ids |= {each.name: each.id for each in self._mender.named(names)}
        return self._offered(
            {device: replace(note, deployment=ids[note.name]) for device, note in notes.items() if note.name in ids}
        )

    def _start(self, order: Order, name: str, members: Sequence[Twin]) -> None:
        """Start one deployment; ``name``: the one noted for it before, if any."""
        try:
            self._deploy(order, name, members)
        except Refused:
            raise
        except DeliveryError as error:
            self._artifacts.discard(order.name)
            reject(self._writes, members, error, self._clock())

    def _deploy(self, order: Order, name: str, members: Sequence[Twin]) -> None:
        self._ensure_artifact(order)
        jobs = {twin.device: twin.job.number for twin in members if twin.job is not None}
        name = name or deployment_name(order.name, jobs.items())
        notes = {
            twin.device: DeploymentNote(jobs[twin.device], name, str(twin.memo[MENDER_ID]), order.attempt)
            for twin in members
        }
        self._writes.change(notes, lambda twin: write_attempt(twin, notes[twin.device], order.version))
        deployment = self._mender.deploy(name, order.name, sorted(note.device for note in notes.values()))
        if deployment is None:
            alike = [each for each in self._mender.named([name]) if not each.is_finished]
            if not alike:
                raise DeliveryError(f"{self._mender.name} says that the deployment {name} is under way, and has none")
            deployment = alike[0].id
        self._offered({device: replace(note, deployment=deployment) for device, note in notes.items()})

    def _ensure_artifact(self, order: Order) -> None:
        """Upload the artifact, unless Mender has it."""
        if order.name in self._artifacts:
            return
        if not self._mender.has_artifact(order.name):
            about = f"release {order.target.release}" if order.target is not None else f"removes {order.model}"
            self._mender.upload(self._bundler.build(order), f"{about}; made by edgewright")
        self._artifacts.add(order.name)

    def _offered(self, notes: Mapping[str, DeploymentNote]) -> dict[str, Twin]:
        now = self._clock()
        return self._writes.change(notes, lambda twin: mark_offered(twin, notes[twin.device], now))


def _order(twin: Twin, job: Job, route: Route, recipe: str) -> Order:
    """Return a device's order, with its attempt."""
    order = Order(job.model, job.target, route.delivery, recipe)
    note = note_of(twin)
    return replace(order, attempt=note.attempt if note is not None else next_attempt(twin, order.version))
