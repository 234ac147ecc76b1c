"""The composition root: a spec repository with everything commands need, each driver made when it is asked for.

Drivers are imported where they are made, so that ``validate`` does not pay for the state store nor ``plan`` for
what signs, and nothing here for torch.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.apply.observing import Reality
from edgewright.core.snapshot import Snapshot
from edgewright.errors import StateError
from edgewright_schemas.repository import AgentDelivery as DeliverySpec

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.apply.listening import Listener
    from edgewright.apply.reconciler import Reconciler
    from edgewright.artifacts.blobs import FileBlobStore
    from edgewright.build.sources import SourceIndex
    from edgewright.delivery.agent import AgentDelivery
    from edgewright.source.git import GitSource
    from edgewright.source.worktree import WorktreeSource
    from edgewright.state.lease import SqlLease
    from edgewright.state.store import SqlState

STATE_FOLDER = ".edgewright"
_LEASE = timedelta(seconds=30)


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


def _delivery_spec(desired: Snapshot) -> DeliverySpec:
    repository = desired.repository()
    return repository.spec.delivery if repository else DeliverySpec()


class Workspace:
    """One spec repository, at one ref or as it is being edited."""

    def __init__(
        self,
        repo: Path,
        *,
        ref: str | None = None,
        worktree: bool = False,
        state: str | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Remember where things are; nothing is opened yet.

        Args:
            repo: A folder in the repository's work tree, or a bare repository.
            ref: Branch, tag or commit; HEAD by default.
            worktree: Read uncommitted edits instead of a commit.
            state: Folder for state, blobs, cache and keys, ``.edgewright`` at the repository's root by default; or
                the URL of a database, the rest staying there.
            clock: Gives aware UTC times.
        """
        self._repo = repo
        self._ref = ref
        self._worktree = worktree
        is_url = state is not None and "://" in state
        self._state_url = state if is_url else None
        self._state = None if is_url else state
        self.clock = clock

    @cached_property
    def root(self) -> Path:
        """The spec repository's root folder.

        Raises:
            SourceError: There is no repository.
        """
        return self.source.root

    @cached_property
    def folder(self) -> Path:
        """Where state, blobs, cache and keys are."""
        return Path(self._state).expanduser() if self._state else self.root / STATE_FOLDER

    @cached_property
    def source(self) -> "GitSource | WorktreeSource":
        """What is desired.

        Raises:
            SourceError: There is no repository.
        """
        if self._worktree:
            from edgewright.source.worktree import WorktreeSource

            return WorktreeSource(self._repo, cache=self._cache)
        return self.source_at(self._ref)

    def source_at(self, ref: str | None) -> "GitSource":
        """What is desired at another ref.

        Raises:
            SourceError: There is no repository.
        """
        from edgewright.source.git import GitSource

        return GitSource(self._repo, ref, cache=self._cache)

    @property
    def _cache(self) -> Path | None:
        """Where parsed specs are kept; None lets the source choose its default below the repository."""
        return Path(self._state).expanduser() / "cache" if self._state else None

    @cached_property
    def state(self) -> "SqlState":
        """The state store; opened when it is first read."""
        from edgewright.state.store import SqlState

        return SqlState(self._state_url or self.folder / "state.db")

    @cached_property
    def blobs(self) -> "FileBlobStore":
        """Stored files of artifacts."""
        from edgewright.artifacts.blobs import FileBlobStore

        return FileBlobStore(self.folder / "blobs")

    @cached_property
    def sources(self) -> "SourceIndex":
        """Dataset sources outside Git."""
        from edgewright.build.sources import SourceIndex

        return SourceIndex(self.root, self.folder / "cache")

    def delivery(self, desired: Snapshot) -> "AgentDelivery":
        """The driver that reaches devices, as the Repository document says."""
        from edgewright.delivery.agent import AgentDelivery

        spec = _delivery_spec(desired)
        return AgentDelivery(
            repository=self.delivery_folder(desired),
            reports=self._place(spec.reports),
            keys=self.keys,
            clock=self.clock,
            bins=spec.bins,
            cache=self.folder / "cache",
        )

    def delivery_folder(self, desired: Snapshot) -> Path:
        """The folder that is served to devices."""
        return self._place(_delivery_spec(desired).repository)

    def make_folder(self) -> None:
        """Make the state folder, invisible to Git.

        Raises:
            StateError, StorageFull: It cannot be written.
        """
        from edgewright.durable import make_folder, write_atomic

        ignore = self.folder / ".gitignore"
        if ignore.exists():
            return
        try:
            make_folder(self.folder)
            write_atomic(ignore, b"*\n")
        except OSError as error:
            raise StateError(
                f"cannot write {self.folder}: {error.strerror}", hint="make it writable, or name another with --state"
            ) from error

    @property
    def keys(self) -> Path:
        """Where the signing keys are."""
        chosen = os.environ.get("EDGEWRIGHT_KEYS")
        return Path(chosen).expanduser().absolute() if chosen else self.folder / "keys"

    def _place(self, configured: str) -> Path:
        """Resolve a configured folder; what is below ``.edgewright`` moves with ``--state``."""
        path = Path(configured)
        if not path.is_absolute() and path.parts[:1] == (STATE_FOLDER,):
            return self.folder.joinpath(*path.parts[1:])
        return self.root / path

    def reality(self, desired: Snapshot) -> Reality:
        """Every read side, for planning."""
        return Reality(self.state, self.blobs, self.delivery(desired), self.sources)

    @contextmanager
    def lease(self, purpose: str) -> Iterator["SqlLease"]:
        """Hold the right to change things.

        Raises:
            LeaseHeld: Another process has it.
        """
        from edgewright.state.lease import acquire

        self.make_folder()
        with acquire(self.state, purpose, _LEASE, self.clock) as lease:
            yield lease

    def reconciler(self, desired: Snapshot, lease: "SqlLease", listener: "Listener") -> "Reconciler":
        """Everything a run needs, wired."""
        from edgewright.apply.building import Workshop
        from edgewright.apply.configuring import Configurator
        from edgewright.apply.publishing import Publisher
        from edgewright.apply.reconciler import Reconciler
        from edgewright.apply.rolling import Roller
        from edgewright.build.process import ProcessBuilder
        from edgewright.cli.rendering import TemplateRenderer

        delivery = self.delivery(desired)
        state, blobs, clock = self.state, self.blobs, self.clock
        builder = ProcessBuilder(folders=[self.root])
        configurator = Configurator(self.source, state, state, blobs, TemplateRenderer(), clock)
        return Reconciler(
            source=self.source,
            reality=Reality(state, blobs, delivery, self.sources),
            reader=state,
            writer=state,
            delivery=delivery,
            workshop=Workshop(self.source, state, state, blobs, builder, self.folder / "work", clock),
            publisher=Publisher(state, state, blobs, delivery, clock),
            roller=Roller(state, state, configurator, delivery, listener, clock),
            lease=lease,
            listener=listener,
            clock=clock,
        )
