"""The composition root: a spec repository with everything commands need, each driver made when it is asked for.

Drivers are imported where they are made, so that ``validate`` does not pay for the state store nor ``plan`` for
what signs, and nothing here for torch.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError, SourceError, SourceUnavailable
from edgewright.reconcile.observer import Observer
from edgewright.wiring.folders import STATE_FOLDER, WorkspaceFolders

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.blobs.file_store import FileBlobStore
    from edgewright.core.status.source import SourceStatus
    from edgewright.delivery.agent.driver import AgentDelivery
    from edgewright.delivery.routing import RoutedDelivery
    from edgewright.pipeline.dataset.source_index import SourceIndex
    from edgewright.ports import Lease, SnapshotSource, Upstream
    from edgewright.reconcile.accepted import AcceptedSource
    from edgewright.reconcile.listener import Listener
    from edgewright.reconcile.reconciler import Reconciler
    from edgewright.state.lease import SqlLease
    from edgewright.state.store import SqlState
    from edgewright.state.twins import SqlTwins
    from edgewright.wiring.registry import DriverContext
    from edgewright.wiring.routes import RouteTable

LEASE_TIME = timedelta(seconds=30)
_REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*://|^[^/:@\s]+@[^/:\s]+:", re.IGNORECASE)
"""A URL, or what scp takes: ``git@host:path``."""


def utc_now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)


class Workspace(WorkspaceFolders):
    """One spec repository, at one ref or as it is being edited, seen as one environment."""

    def __init__(
        self,
        repo: str | Path,
        *,
        ref: str | None = None,
        worktree: bool = False,
        state: str | None = None,
        env: str | None = None,
        clock: Callable[[], datetime] = utc_now,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Remember the locations; nothing is opened yet.

        Args:
            repo: A folder in the repository's work tree, a bare repository, or the URL of a remote one.
            ref: Branch, tag or commit; by default what the environment follows, or HEAD.
            worktree: Read uncommitted edits instead of a commit.
            state: Folder for state, blobs, cache and keys, ``.edgewright`` at the repository's root by default (of a
                remote one: here); or the URL of a database, the rest staying there, or in $EDGEWRIGHT_HOME.
            env: One of the environments the repository declares.
            clock: Gives aware UTC times.
            warn: Shows a warning, such as that the remote does not answer.
        """
        self._repo = str(repo)
        self._ref = ref
        self._worktree = worktree
        is_url = state is not None and "://" in state
        self._state_url = state if is_url else None
        self._state = os.environ.get("EDGEWRIGHT_HOME") if is_url or state is None else state
        self.env = env or ""
        self.is_remote = _REMOTE.match(self._repo) is not None
        self.clock = clock
        self._warn = warn
        self.stale: SourceUnavailable | None = None
        """The reason why the desired state is what was fetched before."""
        self._others: WeakSet[Workspace] = WeakSet()
        self.observed: tuple[Snapshot, RoutedDelivery] | None = None
        """The specs and deliveries of the last observer."""

    def close(self) -> None:
        """Close the state store, of other environments too: SQLite then keeps all of it in its file, none in its log.

        A later use opens it again.
        """
        for other in self._others:
            other.close()
        if "state" in self.__dict__:
            self.state.close()

    def for_environment(self, env: str) -> Self:
        """Return the same repository and state, as another environment."""
        other = type(self)(
            self._repo,
            ref=self._ref,
            worktree=self._worktree,
            state=self._state_url or self._state,
            env=env or None,
            clock=self.clock,
            warn=self._warn,
        )
        self._others.add(other)
        return other

    @property
    def described(self) -> dict[str, Any]:
        """The arguments that open the same repository and state in another process."""
        state = self._state_url or self._state
        return {"repo": self._repo, "ref": self._ref, "worktree": self._worktree, "state": state}

    @cached_property
    def root(self) -> Path:
        """The spec repository's root folder; of a remote one, the folder its state folder is in.

        Raises:
            SourceError: There is no repository.
        """
        if self.is_remote:
            return self.folder.absolute().parent
        from edgewright.source.git.repositories import GitRepository

        return GitRepository(self._repo).root

    @cached_property
    def folder(self) -> Path:
        """The folder of state, blobs, cache and keys, of all environments."""
        if self._state:
            return Path(self._state).expanduser()
        return Path(STATE_FOLDER).absolute() if self.is_remote else self.root / STATE_FOLDER

    @property
    def remote_url(self) -> str | None:
        """The URL the repository was cloned from, or is at; None without a remote."""
        if self.is_remote:
            return self._repo
        from edgewright.source.git.repositories import GitRepository

        try:
            return GitRepository(self._repo).run("config", "--get", "remote.origin.url").strip()
        except SourceError:
            return None

    @property
    def shown(self) -> str:
        """The repository, for messages."""
        return self._repo if self.is_remote else str(self.root)

    @cached_property
    def upstream(self) -> "Upstream":
        """The repository that is followed.

        Raises:
            SourceError: There is none.
        """
        from edgewright.source.git.credentials import Credentials
        from edgewright.source.upstreams import open_upstream

        return open_upstream(
            self._repo, self.folder / "git", Credentials.from_environment(), cache=self.folder / "cache"
        )

    @cached_property
    def source(self) -> "SnapshotSource":
        """The desired state; of a remote repository, as of now.

        Raises:
            SourceError: There is no repository, or no such environment.
            SourceUnavailable: The remote does not answer.
        """
        if self._worktree:
            from edgewright.source.worktree import WorktreeSource

            if self.env:
                return WorktreeSource(self._repo, cache=self._cache, environment=self.env)
            return WorktreeSource(self._repo, cache=self._cache)
        if not self.is_remote and (self._ref is not None or not self.env):
            return self.source_at(self._ref)
        from edgewright.reconcile.accepted import fetch_follow

        follow = fetch_follow(self.upstream, self.env, self._ref, self._be_stale)
        return self.upstream.source(lambda: self.upstream.resolve(follow), self.env)

    def source_at(self, ref: str | None) -> "SnapshotSource":
        """Return the desired state at another ref.

        Raises:
            SourceError: There is no repository.
            SourceUnavailable: The remote does not answer.
        """
        if self.is_remote:
            from edgewright.reconcile.accepted import fetch_follow

            follow = fetch_follow(self.upstream, "", ref, self._be_stale)
            return self.upstream.source(lambda: self.upstream.resolve(follow), self.env)
        from edgewright.source.commits import GitSource

        if self.env:
            return GitSource(self._repo, ref, cache=self._cache, environment=self.env)
        return GitSource(self._repo, ref, cache=self._cache)

    def _be_stale(self, error: SourceUnavailable) -> None:
        """Continue with what was fetched before, and warn once."""
        if self.stale is None:
            self.stale = error
            self._warn(f"{error.message}; this is what was fetched before")

    def followed(
        self, upstream: "Upstream", anchor: Callable[[], str | None], *, eager: bool = False
    ) -> "AcceptedSource":
        """Return the accepted source: as ``source``, but only revisions whose signatures and specs are right.

        Args:
            upstream: The repository, which someone else fetches.
            anchor: Gives what another environment accepted last.
            eager: Look whenever it is asked for its revision, where nobody says that something may have changed.
        """
        from edgewright.reconcile.accepted import AcceptedSource

        state = self.state
        return AcceptedSource(upstream, self.env, self._ref, state, state, self.clock, anchor, eager=eager)

    @property
    def _cache(self) -> Path | None:
        """The folder of parsed specs; None lets the source choose its default below the repository."""
        return Path(self._state).expanduser() / "cache" if self._state else None

    @cached_property
    def state(self) -> "SqlState":
        """The state store; opened when it is first read."""
        from edgewright.state.store import SqlState

        where = self._state_url or self.folder / "state.db"
        return SqlState(where, environment=self.env) if self.env else SqlState(where)

    @cached_property
    def blobs(self) -> "FileBlobStore":
        """Stored files of artifacts."""
        from edgewright.blobs.file_store import FileBlobStore

        return FileBlobStore(self.folder / "blobs")

    @cached_property
    def sources(self) -> "SourceIndex":
        """Dataset sources outside Git."""
        from edgewright.pipeline.dataset.source_index import SourceIndex

        return SourceIndex(self.root, self.folder / "cache")

    def repository(self, desired: Snapshot) -> "AgentDelivery":
        """Return the published repository, which also reaches agents."""
        from edgewright.delivery.agent.driver import AgentDelivery
        from edgewright.state.twins import SqlInbox

        spec, place = self._delivery(desired)
        return AgentDelivery(
            repository=place(spec.repository),
            reports=place(spec.reports),
            keys=self.keys,
            clock=self.clock,
            bins=spec.bins,
            cache=self.home / "cache",
            inbox=SqlInbox(self.state),
        )

    def delivery(self, desired: Snapshot, source: "SnapshotSource | None" = None) -> "RoutedDelivery":
        """Return all update systems together, as the fleets declare them.

        Args:
            desired: The accepted specs.
            source: Gives later ones, for a continuous run; by default there are none.
        """
        from edgewright.delivery.routing import RoutedDelivery
        from edgewright.state.twins import SqlTwins
        from edgewright.wiring.drivers import open_drivers, systems_of
        from edgewright.wiring.routes import RouteTable, fixed_routes

        enrolled, twins = self.state.enrolled, SqlTwins(self.state)
        if source is None:
            routes = fixed_routes(desired, enrolled)
        else:
            routes = RouteTable(source.revision, source.snapshot, enrolled)
        systems = {*systems_of(desired), *twins.systems()}
        context = self._driver_context(desired, twins, routes, source)
        return RoutedDelivery(self.repository(desired), open_drivers(systems, context), routes)

    def _driver_context(
        self, desired: Snapshot, twins: "SqlTwins", routes: "RouteTable", source: "SnapshotSource | None"
    ) -> "DriverContext":
        from edgewright.delivery.repository.depot import Depot
        from edgewright.wiring.registry import DriverContext

        def read(path: str) -> bytes:
            if source is not None:
                return source.read(source.revision(), path)
            return self.source.read(desired.revision, path)

        return DriverContext(
            twins=twins,
            depot=Depot(self.delivery_folder(desired)),
            routes=routes,
            clock=self.clock,
            cache=self.bundles,
            keys=self.keys,
            read=read,
        )

    def reality(self, desired: Snapshot) -> Observer:
        """Return the observer, for planning.

        Raises:
            EdgewrightError: The repository declares environments, and none was named.
        """
        self._check_named(desired)
        delivery = self.delivery(desired)
        self.observed = desired, delivery
        return Observer(self.state, self.blobs, delivery, self.sources)

    def _check_named(self, desired: Snapshot) -> None:
        repository = desired.repository()
        if repository is not None and repository.spec.environments and not self.env:
            names = ", ".join(environment.name for environment in repository.spec.environments)
            raise EdgewrightError(f"this repository declares environments: {names}", hint="name one with --env")

    @contextmanager
    def lease(self, purpose: str) -> Iterator["SqlLease"]:
        """Hold the lease to change things.

        Raises:
            LeaseHeld: Another process has it.
        """
        from edgewright.state.lease import acquire

        self.make_folder()
        with acquire(self.state, purpose, LEASE_TIME, self.clock) as lease:
            yield lease

    def reconciler(
        self,
        desired: Snapshot,
        lease: "Lease",
        listener: "Listener",
        source: "SnapshotSource | None" = None,
        source_status: "Callable[[], SourceStatus] | None" = None,
    ) -> "Reconciler":
        """Wire a run; ``source`` and its status take the place of the workspace's own."""
        from edgewright.pipeline.executors.local import LocalExecutor
        from edgewright.pipeline.executors.staging import Staging, StagingBuilder
        from edgewright.reconcile.builds import BuildRunner
        from edgewright.reconcile.device_configs import Configurator
        from edgewright.reconcile.drift_scan import SCAN_BYTES, DriftMemory
        from edgewright.reconcile.publisher import Publisher
        from edgewright.reconcile.reconciler import Reconciler
        from edgewright.reconcile.rollouts import RolloutDriver
        from edgewright.reconcile.run import RunContext
        from edgewright.wiring.config_renderer import TemplateRenderer

        source = source or self.source
        delivery = self.delivery(desired, source)
        blobs = self.blobs
        context = RunContext(self.state, self.state, listener, self.clock)
        builder = StagingBuilder(Staging(blobs, source), LocalExecutor(folders=[self.root]))
        configurator = Configurator(context, source, blobs, TemplateRenderer())
        return Reconciler(
            context=context,
            source=source,
            observer=Observer(self.state, blobs, delivery, self.sources, DriftMemory(SCAN_BYTES)),
            delivery=delivery,
            build_runner=BuildRunner(context, blobs, builder, self.folder / "work"),
            publisher=Publisher(context, blobs, delivery),
            rollout_driver=RolloutDriver(context, configurator, delivery, delivery),
            lease=lease,
            source_status=source_status,
        )
