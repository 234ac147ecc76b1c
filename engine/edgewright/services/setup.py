"""Setting up: a spec repository with its first commit, its keys, and the repository of packages that devices trust."""

import re
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError
from edgewright.services.environment import Environment

if TYPE_CHECKING:
    from edgewright_templates.scaffold import ScaffoldRefused


@dataclass(frozen=True, slots=True)
class MadeKeys:
    """The keys that were made."""

    folder: Path
    lacked: Sequence[str] | None
    """Names of those that were lacking; None where all were made."""


class NewEnvironment(Environment, Protocol):
    """An environment whose keys and repository of packages can be made."""

    def make_keys(self) -> MadeKeys:
        """Make the keys that are not there yet.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: They cannot be made.
        """
        ...

    def make_repository(self, desired: Snapshot) -> Path:
        """Make the repository of packages where it is not there yet; returns the file that devices trust.

        Raises:
            DeliveryError, DeliveryUnavailable, StorageFull: It cannot be made.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A spec repository that was written."""

    files: int
    committed: bool
    """Inside another repository, committing is for its owner."""


def write_repository(directory: Path, name: str | None, commit: Callable[[Path, Sequence[Path]], bool]) -> Scaffold:
    """Write a working spec repository, and commit it.

    Args:
        directory: The folder; made if need be.
        name: The repository's name; None: the folder's.
        commit: Commits the files where the folder is in no other repository; returns whether they are committed.

    Raises:
        EdgewrightError: Something is in its place, the name is none, or it cannot be written.
    """
    from edgewright_templates.scaffold import ScaffoldRefused, write_scaffold

    with _writing(directory):
        try:
            written = write_scaffold(directory, name or directory.resolve().name)
        except ScaffoldRefused as refused:
            raise EdgewrightError(str(refused), hint=_hint(refused, directory, name)) from refused
        return Scaffold(len(written), commit(directory, written))


def make_repository(environment: NewEnvironment) -> Path:
    """Make the repository of packages that the specs declare; returns the file that devices trust.

    Raises:
        SpecError, SourceError: The specs cannot be read.
        DeliveryError, DeliveryUnavailable, StorageFull: It cannot be made.
    """
    return environment.make_repository(environment.source.snapshot())


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Turn errors of the file system into ours."""
    from edgewright.durable import space_for

    try:
        with space_for(directory):
            yield
    except OSError as error:
        raise EdgewrightError(
            f"cannot write {error.filename or directory}: {error.strerror}",
            hint="make the folder writable, or name another one; then run it again",
        ) from error


def _hint(refused: "ScaffoldRefused", directory: Path, name: str | None) -> str:
    """Return the hint for a refused scaffold; a folder whose name is no name needs another one."""
    if name is None and (valid := nearest_name(directory.resolve().name)) != directory.resolve().name:
        return f"{refused.hint}: edgewright init {shlex.quote(str(directory))} --name {valid}"
    return refused.hint


def nearest_name(text: str) -> str:
    """Turn any text into a name that resources may have."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9.]+", "-", ascii_only).strip("-.") or "my-fleet"
