"""Wires one environment for the controller. Made by ``commands/serve``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import structlog

from edgewright.core.planning.plan import Plan
from edgewright.core.planning.planner import plan
from edgewright.core.snapshot import Snapshot
from edgewright.errors import SourceError
from edgewright.notifications.notifiers import open_notifiers
from edgewright.ports import Cancel, Lease, StateReader, StateWriter, Upstream
from edgewright.reconcile.accepted import SIGNED, AcceptedSource
from edgewright.reconcile.listener import Listener
from edgewright.reconcile.notifications import Dispatcher
from edgewright.reconcile.observer import NamedSources
from edgewright.reconcile.reconciler import Reconciler
from edgewright.render.quantities import count_text
from edgewright.services.retention import collect_led
from edgewright.source.watch import watch
from edgewright.state.lease import SqlLease, wait_for_lease
from edgewright.wiring.drivers import systems_of
from edgewright.wiring.operations import OperatorWorkspace
from edgewright.wiring.workspace import LEASE_TIME, Workspace

HOLDER = "edgewright serve"
_NEWEST, _MIN_AGE = 2, timedelta(days=1)
"""What is kept in any case, as ``edgewright gc`` has it, but for a day: other environments go on meanwhile."""
_GIVEN_LINKS = frozenset({"ddi", "mender"})
"""Update systems whose devices are given links."""


class LiveEnvironment:
    """Implements server.stations.Station over a workspace."""

    def __init__(
        self, workspace: Workspace, upstream: Upstream, anchor: Callable[[], str | None], *, is_plain: bool = False
    ) -> None:
        """Wire it; nothing is opened yet.

        Args:
            workspace: The environment's.
            upstream: The repository, which all environments share.
            anchor: Gives what another environment accepted last.
            is_plain: Whether devices are served over plain HTTP, with no proxy known that ends TLS.
        """
        self._is_plain = is_plain
        self._workspace = workspace
        self._upstream = upstream
        self._anchor = anchor

    @property
    def name(self) -> str:
        """The environment's name."""
        return self._workspace.env

    @property
    def reader(self) -> StateReader:
        """The reader of what is known of reality."""
        return self._workspace.state

    @property
    def writer(self) -> StateWriter:
        """The same store."""
        return self._workspace.state

    def followed(self) -> AcceptedSource:
        """The accepted source."""
        return self._workspace.followed(self._upstream, self._anchor)

    @contextmanager
    def lease(self, cancel: Cancel) -> Iterator[Lease | None]:
        """Stand by until the right to change things is ours.

        Raises:
            StateError: The store cannot be used.
        """
        self._workspace.make_folder()
        lease = wait_for_lease(self._workspace.state, HOLDER, LEASE_TIME, self._workspace.clock, cancel)
        if lease is None:
            yield None
            return
        with lease:
            yield lease

    def reconciler(self, desired: Snapshot, lease: Lease, listener: Listener, followed: AcceptedSource) -> Reconciler:
        """A run, wired as a revision declares."""
        assert isinstance(lease, SqlLease)
        if not self._workspace.keys.is_dir():
            structlog.get_logger("edgewright.station").error(
                "there are no signing keys: models are made, and nothing can be published",
                keys=str(self._workspace.keys),
                hint="in a clone: edgewright init . --keys-only --state FOLDER [--env NAME]",
            )
        if self._is_plain and systems_of(desired) & _GIVEN_LINKS and self._workspace.delivery_spec(desired).url is None:
            structlog.get_logger("edgewright.station").warning(
                "spec.delivery.url is not declared: links for devices lead over plain HTTP to where they asked",
                hint="declare it; behind a proxy that ends TLS name the proxy with --proxy, too",
            )
        return self._workspace.reconciler(
            desired, lease, listener, source=followed, source_status=lambda: followed.status
        )

    def plan(self, proposed: Snapshot, in_force: Snapshot | None) -> Plan:
        """Return the plan of a run for a proposed snapshot.

        Sources and folders of delivery are those of what is in force: a proposal must not choose what is opened here.
        """
        reality = self._workspace.reality(in_force or Snapshot("", {}))
        observed = replace(reality, sources=NamedSources(reality.sources, in_force)).observe(proposed)
        return plan(proposed, observed, self._workspace.clock())

    def collect(self) -> str:
        """Remove what no environment needs, between two passes; say what was removed.

        Raises:
            EdgewrightError: It cannot be judged now.
        """
        workspace = OperatorWorkspace(
            **self._workspace.described, env=self._workspace.env or None, clock=self._workspace.clock
        )
        workspace.state, workspace.upstream = self._workspace.state, self._upstream
        done = collect_led(workspace, newest=_NEWEST, min_age=_MIN_AGE)
        counted = ((done.artifacts, "artifact"), (done.published_packages, "published package"), (done.files, "file"))
        removed = ", ".join(count_text(count, noun) for count, noun in counted)
        return f"{removed} with {count_text(done.bytes, 'byte')}"

    def dispatcher(self, desired: Snapshot) -> Dispatcher:
        """The dispatcher of notifications.

        Raises:
            NoticeError: Secrets are missing.
        """
        repository = desired.repository()
        specs = repository.spec.notifications if repository else ()
        state, clock = self._workspace.state, self._workspace.clock
        return Dispatcher(state, state, open_notifiers(specs), specs, clock, environment=self.name)

    @contextmanager
    def watch_reports(self, desired: Snapshot, on_report: Callable[[], None]) -> Iterator[Path | None]:
        """Call back when a device has reported; shares of other machines are looked at every few seconds instead."""
        folder = self._workspace.reports_folder(desired)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            watching = watch(folder, lambda changed: on_report(), debounce=0.05)
        except (OSError, SourceError):
            yield None
            return
        with watching:
            yield folder


def anchor_of(workspace: Workspace) -> Callable[[], str | None]:
    """Find what any environment of the store accepted with a signature."""

    def find() -> str | None:
        for name in workspace.state.environments():
            with workspace.for_environment(name).state as state:
                kept = state.accepted_revision()
            if kept is not None and kept.endswith(SIGNED):
                return kept
        return None

    return find
