"""A workspace with what the use cases in ``services`` need beside it. Opened by the command line.

It implements ``services.environment.DeviceEnvironment`` and the Protocols beside single use cases. Drivers are imported
where they are made, as in ``workspace``.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.core.snapshot import WORKTREE, Snapshot
from edgewright.errors import EdgewrightError, SourceError
from edgewright.wiring.workspace import Workspace
from edgewright_schemas.notifications import NotificationReceiver
from edgewright_schemas.repository import Repository

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.delivery.identity.admission import Admission
    from edgewright.delivery.identity.tokens import EnrollmentTokens
    from edgewright.ports import Forge, Lease, Notifier, SnapshotSource
    from edgewright.reconcile.accepted import AcceptedSource
    from edgewright.reconcile.listener import Listener
    from edgewright.reconcile.reconciler import Reconciler
    from edgewright.secret import Secret
    from edgewright.services.setup import MadeKeys
    from edgewright.state.twins import SqlIdentities, SqlTwins


class OperatorWorkspace(Workspace):
    """One environment, with everything an operator does to it."""

    # ── devices ───────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def twins(self) -> "SqlTwins":
        """The twins of devices without our agent."""
        from edgewright.state.twins import SqlTwins

        return SqlTwins(self.state)

    @cached_property
    def identities(self) -> "SqlIdentities":
        """The keys and tokens of devices."""
        from edgewright.state.twins import SqlIdentities

        return SqlIdentities(self.state)

    @cached_property
    def admission(self) -> "Admission":
        """The decisions about keys."""
        from edgewright.delivery.identity.admission import Admission
        from edgewright.wiring.registry import systems_with_keys

        return Admission(self.identities, self.state, self.clock, systems_with_keys())

    @cached_property
    def tokens(self) -> "EnrollmentTokens":
        """The enrollment tokens."""
        from edgewright.delivery.identity.tokens import EnrollmentTokens

        return EnrollmentTokens(self.identities)

    def issue_device_token(self, device: str) -> "Secret":
        """Make the one token of a device that speaks hawkBit's device API; those before it are revoked."""
        from edgewright.delivery.served.ddi.authentication import issue_token

        return issue_token(self.identities, device, self.clock())

    def issue_gateway_token(self, gateway: str) -> "Secret":
        """Make the one token of all such devices behind a gateway; those before it are revoked.

        Raises:
            DeliveryError: The name cannot be used.
        """
        from edgewright.delivery.served.ddi.authentication import issue_gateway_token

        return issue_gateway_token(self.identities, gateway, self.clock())

    def issue_server_certificate(self, hosts: Collection[str], life: timedelta) -> tuple[bytes, bytes, bytes]:
        """Make a certificate that agents trust: the chain, its key and the authority's certificate, in PEM.

        Raises:
            EdgewrightError: A host is no host name or address.
            DeliveryError: The authority's key is missing or wrong.
        """
        from edgewright.delivery.identity.certificates import issue_server_certificate
        from edgewright.delivery.identity.credentials import load_devices_ca

        authority = load_devices_ca(self.keys)
        try:
            chain, key = issue_server_certificate(authority, list(hosts), self.clock(), life)
        except ValueError as error:
            hint = "name hosts and addresses alone, without https:// or a port"
            raise EdgewrightError(str(error), hint=hint) from error
        return chain.encode(), key, authority.certificate_pem

    # ── what is published ─────────────────────────────────────────────────────────────────────────────────────────

    def collect_published(
        self, desired: Snapshot, packages: Collection[str], configs: Collection[str], *, dry_run: bool
    ) -> int:
        """Remove published packages that are neither assigned nor among these; returns how many.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: It cannot be written.
        """
        return len(self.repository(desired).collect(packages, configs, dry_run=dry_run).packages)

    def make_keys(self) -> "MadeKeys":
        """Make the keys that are not there yet.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: They cannot be made.
        """
        from edgewright.delivery.identity.credentials import create_credentials
        from edgewright.delivery.repository.keys import ROLES, create_keys, load_keys
        from edgewright.services.setup import MadeKeys

        folder = self.keys_to_make
        if any((folder / f"{role}.{kind}").exists() for role in ROLES for kind in ("pub", "pem")):
            load_keys(folder)
            return MadeKeys(folder, create_credentials(folder))
        create_keys(folder)
        create_credentials(folder)
        return MadeKeys(folder, None)

    def make_repository(self, desired: Snapshot) -> Path:
        """Make the repository of packages where it is not there yet; returns the file that devices trust.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: It cannot be made.
        """
        self.repository(desired).create()
        return self.delivery_folder(desired) / "metadata/root.json"

    # ── Git, and what is around it ────────────────────────────────────────────────────────────────────────────────

    def declared(self) -> Repository | None:
        """Read the Repository document of what ``source`` reads; None where there is none.

        Raises:
            SpecError: It is wrong.
            SourceError: It cannot be read.
        """
        from edgewright.source.commits import GitSource
        from edgewright.source.worktree import WorktreeSource

        source = self.source
        if isinstance(source, GitSource | WorktreeSource):
            return source.declared()
        return self.upstream.declared(source.revision())

    def merge_base(self, base: str, head: str) -> str:
        """Find the commit that two revisions come from; empty where there is none or history is cut off."""
        from edgewright.source.git.commands import Commands, GitFailed
        from edgewright.source.git.merging import is_settled, merge_bases
        from edgewright.source.git.repositories import GitRepository

        if self.is_remote:
            try:
                return self.upstream.merge(base, head).base
            except SourceError:
                return ""
        repository, commands = GitRepository(self.root), Commands()
        try:
            commit = repository.commit(None) if head.startswith(WORKTREE) else head
            if not is_settled(commands, repository.common_dir, base, commit):
                return ""
            return next(iter(merge_bases(commands, repository.common_dir, base, commit)), "")
        except (SourceError, GitFailed):
            return ""
        finally:
            repository.close()

    def watch(self, on_change: Callable[[frozenset[str]], None], *, debounce: float) -> AbstractContextManager[object]:
        """Call back after every burst of changes of the work tree.

        Args:
            on_change: Takes the paths that changed.
            debounce: Seconds without a change before the call.

        Raises:
            SourceError: The folder cannot be watched.
        """
        from edgewright.source.watch import watch

        return watch(self.root, on_change, debounce=debounce, warn=self._warn)

    def open_forge(self) -> "Forge | None":
        """Connect to the forge of the repository's remote; None without settings for one.

        Raises:
            ForgeError: Something of its settings is missing or wrong.
        """
        from edgewright.forges.opening import open_forge
        from edgewright.forges.settings import ForgeSettings

        settings = ForgeSettings.guess(self._fetch_url())
        return open_forge(settings) if settings is not None else None

    def _fetch_url(self) -> str | None:
        """Return the URL that Git fetches from, rewritten as its configuration says; None without a remote."""
        if self.is_remote:
            return self.remote_url
        from edgewright.source.git.repositories import GitRepository

        repository = GitRepository(self.root)
        try:
            return repository.run("remote", "get-url", "origin").strip()
        except SourceError:
            return None
        finally:
            repository.close()

    def notifier(self, receiver: NotificationReceiver) -> "Notifier":
        """Return what sends to a receiver of notifications.

        Raises:
            NotificationError: Secrets are missing, or the receiver cannot be used as declared.
        """
        from edgewright.notifications.notifiers import open_notifiers

        return open_notifiers([receiver])[receiver.name]

    # ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def accepted_source(self) -> "AcceptedSource":
        """Return the source that takes up only revisions whose signatures and specs are right."""
        return self.followed(self.upstream, lambda: None, eager=True)

    def open_run(
        self, desired: Snapshot, lease: "Lease", listener: "Listener", source: "SnapshotSource | None" = None
    ) -> "Reconciler":
        """Prepare a run; ``source`` in place of the workspace's own."""
        return self.reconciler(desired, lease, listener, source)


def commit_first(directory: Path, written: Sequence[Path]) -> bool:
    """Make a folder a Git repository with one commit; returns whether the files are committed.

    Raises:
        EdgewrightError, OSError: Git cannot write it.
    """
    from edgewright.source.git import first_commit

    return first_commit.commit_first(directory, written)
