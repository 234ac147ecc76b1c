"""Inspects a repository: compares every file with its signed metadata.

Reads only. Presence and size are cheap and checked each time; bytes are read as far as the budget goes, and the next
inspection continues after the last file read. Called by ``delivery.agent.driver``.
"""

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgewright.core.config_drift import RepositoryFault, RepositoryInspection
from edgewright.delivery.repository.reader import bin_names, unavailable, versioned_name
from edgewright.delivery.repository.rollback_guard import check_version
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright_wire.canonical import hex_of
from edgewright_wire.layout import METADATA, PACKAGES_ROLE, TARGETS, blob_path

MIN_FILE_COST = 16 << 10
"""Least cost of reading a file, in bytes of a budget, however small it is."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Expected:
    """One file, as it should be."""

    kind: str
    name: str
    path: str
    digest: str
    size: int


class _BadMetadata(Exception):
    """Metadata that does not hold."""

    def __init__(self, path: str, expected: str, found: str | None) -> None:
        super().__init__(path)
        self.flaw = RepositoryFault("metadata", path.rpartition("/")[2].removesuffix(".json"), path, expected, found)


class RepositoryInspector:
    """Inspects one repository repeatedly, and remembers how far it read."""

    def __init__(self, folder: Path, keys: Path, verify: Callable[[], str | None]) -> None:
        """Set up an inspector; nothing is read yet.

        Args:
            folder: The repository.
            keys: The folder of its keys, which records the version published last.
            verify: Verifies the signatures; returns the problem, or None. Costs importing tuf.
        """
        self._folder = folder
        self._keys = keys
        self._verify = verify
        self._next: int | None = None
        self._suspects: frozenset[str] = frozenset()
        """Files that had other bytes at the last inspection; read each time until they are right."""

    def inspect(self, configs: Mapping[str, int], budget: int | None) -> RepositoryInspection:
        """Compare every published file with the metadata.

        Args:
            configs: Sizes of the configurations that assignments name, by digest.
            budget: How many bytes to read; None: all.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
        """
        try:
            return self._inspect(configs, budget)
        except _BadMetadata as error:
            return RepositoryInspection(flaws=(error.flaw,))
        except OSError as error:
            raise unavailable(self._folder, error) from error

    def _inspect(self, configs: Mapping[str, int], budget: int | None) -> RepositoryInspection:
        try:
            timestamp = self._signed("timestamp")
        except _BadMetadata as error:
            if error.flaw.found is not None:
                raise
            self._check_version(0)
            return RepositoryInspection()
        self._check_version(int(timestamp["version"]))
        if problem := self._verify():
            raise _BadMetadata(METADATA, "signatures of this repository's keys", problem)
        snapshot = self._signed(f"{timestamp['meta']['snapshot.json']['version']}.snapshot")
        assigned: dict[str, tuple[int, str]] = {}
        flaws: list[RepositoryFault] = []
        whole: list[_Expected] = []
        for file in self._files(snapshot, assigned, configs):
            flaw = self._check_size(file)
            if flaw is None:
                whole.append(file)
            else:
                flaws.append(flaw)
        flaws += self._read_some(whole, budget)
        return RepositoryInspection(assigned, tuple(flaws))

    def _check_version(self, version: int) -> None:
        """Compare with the version published last: an older copy that was restored is consistent in itself."""
        path = f"{METADATA}/timestamp.json"
        try:
            check_version(self._keys, self._folder, version)
        except DeliveryUnavailable:
            raise _BadMetadata(path, "the repository that was published here", None) from None
        except DeliveryError as error:
            raise _BadMetadata(path, "the version published last", f"an older copy: {error.message}") from None

    def _files(
        self, snapshot: Any, assigned: dict[str, tuple[int, str]], configs: Mapping[str, int]
    ) -> Iterator[_Expected]:
        """Yield every file as it should be; fills in ``assigned`` on the way."""
        for target, described in self._targets(versioned_name(snapshot, PACKAGES_ROLE)):
            yield from self._package(target, described)
        for role in bin_names(self._signed(versioned_name(snapshot, "assignments").removesuffix(".json"))):
            for target, described in self._targets(versioned_name(snapshot, role)):
                folder, _, name = target.rpartition("/")
                device, hexed = name.removesuffix(".json"), described["hashes"]["sha256"]
                digest = f"sha256:{hexed}"
                assigned[device] = (int(described.get("custom", {}).get("version", 0)), digest)
                path = f"{TARGETS}/{folder}/{hexed}.{name}"
                yield _Expected("assignment", device, path, digest, int(described["length"]))
        for digest, size in sorted(configs.items()):
            yield _Expected("configuration", digest, blob_path(digest), digest, size)

    def _package(self, target: str, described: Any) -> Iterator[_Expected]:
        folder, _, name = target.rpartition("/")
        digest = f"sha256:{name.removesuffix('.json')}"
        hex_of(digest)
        path = f"{TARGETS}/{folder}/{described['hashes']['sha256']}.{name}"
        manifest = _Expected("package", digest, path, digest, int(described["length"]))
        yield manifest
        if self._check_size(manifest) is None:
            try:
                content = json.loads((self._folder / path).read_bytes())
                parts = [(part["digest"], int(part["size"])) for part in (content["config"], *content["layers"])]
            except (ValueError, KeyError, TypeError):
                return  # its bytes are not what they should be, as reading them will show
            for part, size in parts:
                yield _Expected("package", digest, blob_path(part), part, size)

    def _targets(self, name: str) -> list[tuple[str, Any]]:
        return list(self._signed(name.removesuffix(".json"))["targets"].items())

    def _signed(self, name: str) -> Any:
        """Read one metadata file.

        Raises:
            _BadMetadata: It is not there, or no metadata.
            OSError: It cannot be read.
        """
        path = f"{METADATA}/{name}.json"
        try:
            return json.loads((self._folder / path).read_bytes())["signed"]
        except FileNotFoundError:
            raise _BadMetadata(path, "signed metadata", None) from None
        except (ValueError, KeyError, TypeError):
            raise _BadMetadata(path, "signed metadata", "something else") from None

    def _check_size(self, file: _Expected) -> RepositoryFault | None:
        try:
            size = os.stat(f"{self._folder}/{file.path}").st_size  # noqa: PTH116 - asked for every file of every assignment: a Path for each costs as much as the check
        except (FileNotFoundError, NotADirectoryError):
            return RepositoryFault(file.kind, file.name, file.path, file.digest, None)
        return (
            None
            if size == file.size
            else RepositoryFault(file.kind, file.name, file.path, file.digest, f"{size} bytes")
        )

    def _read_some(self, files: list[_Expected], budget: int | None) -> list[RepositoryFault]:
        """Digest the files that were wrong last time, then others from the last position, as far as the budget goes."""
        flaws = [flaw for file in files if file.path in self._suspects and (flaw := self._compare(file))]
        if self._next is None:
            whole = budget is None or sum(max(MIN_FILE_COST, file.size) for file in files) <= budget
            self._next = 0 if whole or not files else random.randrange(len(files))  # noqa: S311 - no secret
        left = budget
        for offset in range(len(files)):
            if left is not None and left <= 0:
                self._next = (self._next + offset) % len(files)
                break
            file = files[(self._next + offset) % len(files)]
            if file.path not in self._suspects and (flaw := self._compare(file)):
                flaws.append(flaw)
            left = None if left is None else left - max(MIN_FILE_COST, file.size)
        self._suspects = frozenset(flaw.path for flaw in flaws)
        return flaws

    def _compare(self, file: _Expected) -> RepositoryFault | None:
        found = _digest(f"{self._folder}/{file.path}")
        return None if found == file.digest else RepositoryFault(file.kind, file.name, file.path, file.digest, found)


def _digest(path: str) -> str | None:
    digest = sha256()
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as in _check_size
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return f"sha256:{digest.hexdigest()}"
