"""The folders of a workspace: of all environments, of one, of its keys and of what is delivered."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.errors import StateError

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.core.snapshot import Snapshot
    from edgewright_schemas.environment import AgentDelivery as DeliverySpec

STATE_FOLDER = ".edgewright"
ENVIRONMENTS_FOLDER = "environments"


class WorkspaceFolders(ABC):
    """Resolves folders for one environment of a spec repository; ``Workspace`` says where the two roots are."""

    env: str
    """The environment's name; empty where the repository declares none, or none was named."""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The root folder of the spec repository."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder of state, blobs, cache and keys, of all environments."""

    @property
    def bundles(self) -> Path:
        """The folder of update bundles; what is lost there is built again."""
        return self.home / "cache/bundles"

    @property
    def home(self) -> Path:
        """The environment's own folder."""
        return self.folder / ENVIRONMENTS_FOLDER / self.env if self.env else self.folder

    @property
    def keys(self) -> Path:
        """The folder of the signing keys: the environment's own, or else the repository's."""
        chosen = os.environ.get("EDGEWRIGHT_KEYS")
        if chosen:
            return Path(chosen).expanduser().absolute()
        own = self.home / "keys"
        return own if own.is_dir() else self.folder / "keys"

    @property
    def all_keys(self) -> list[Path]:
        """The folders of keys, of all environments that have their own."""
        return [self.keys, *sorted((self.folder / ENVIRONMENTS_FOLDER).glob("*/keys"))]

    @property
    def keys_to_make(self) -> Path:
        """The folder in which keys are made: an environment gets its own."""
        return self.keys if os.environ.get("EDGEWRIGHT_KEYS") else self.home / "keys"

    def _place(self, configured: str, home: Path) -> Path:
        """Resolve a configured folder; what is below ``.edgewright`` moves with ``--state``."""
        path = Path(configured)
        if not path.is_absolute() and path.parts[:1] == (STATE_FOLDER,):
            return home.joinpath(*path.parts[1:])
        return self.root / path

    def make_folder(self) -> None:
        """Make the state folder, for nobody else, and invisible to Git.

        Raises:
            StateError, StorageFull: It cannot be written.
        """
        from edgewright.durable import make_folder, write_atomic

        ignore = self.folder / ".gitignore"
        if ignore.exists():
            return
        try:
            make_folder(self.folder, mode=0o700)
            write_atomic(ignore, b"*\n")
        except OSError as error:
            raise StateError(
                f"cannot write {self.folder}: {error.strerror}", hint="make it writable, or name another with --state"
            ) from error

    def delivery_folder(self, desired: "Snapshot") -> Path:
        """Return the folder that is served to devices."""
        spec, place = self._delivery(desired)
        return place(spec.repository)

    def reports_folder(self, desired: "Snapshot") -> Path:
        """Return the folder that devices drop their reports into."""
        spec, place = self._delivery(desired)
        return place(spec.reports)

    def delivery_spec(self, desired: "Snapshot") -> "DeliverySpec":
        """Return the declared delivery."""
        return self._delivery(desired)[0]

    def _delivery(self, desired: "Snapshot") -> "tuple[DeliverySpec, Callable[[str], Path]]":
        """Return the declared delivery, and how its folders are resolved."""
        from edgewright_schemas.environment import AgentDelivery as DeliverySpec

        repository = desired.repository()
        environment = repository.spec.environment(self.env) if repository else None
        if environment is not None and environment.delivery is not None:
            return environment.delivery, lambda folder: self._place(folder, self.folder)
        spec = repository.spec.delivery if repository else DeliverySpec()

        def own(folder: str) -> Path:
            """Separate environments that share the repository's default."""
            is_ours = Path(folder).parts[:1] == (STATE_FOLDER,)
            return self._place(folder, self.home) if is_ours else self._place(folder, self.folder) / self.env

        return spec, own
