"""Reads a repository's metadata as plain JSON: quick enough for every ``plan``, and without importing tuf.

Devices verify signatures, and ``metadata`` does before anything is signed again; a reader that only plans does not need
them. Called by ``delivery.agent.driver``.
"""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright_wire.canonical import hex_of
from edgewright_wire.layout import (
    ASSIGNMENTS_ROLE,
    BIN_PREFIX,
    METADATA,
    PACKAGES_ROLE,
    TARGETS,
    blob_path,
)

Identity = tuple[int, int, int]
"""Modification time in nanoseconds, size in bytes, inode: another triple is another file."""


class RepositoryReader:
    """Reads one repository; parsed metadata is cached until ``timestamp.json`` is another file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: Identity | None = None
        self._packages: Mapping[str, Mapping[str, int]] = {}
        self._damaged: Mapping[str, str] = {}
        self._assigned: tuple[Identity, Mapping[str, int]] | None = None

    def published(self) -> frozenset[str]:
        """Return the digests of the packages all of whose files are there, each with its length.

        Raises:
            DeliveryUnavailable: The repository cannot be read.
            DeliveryError: The folder holds no repository.
        """
        try:
            seen = self._identity()
            if seen is None:
                return frozenset()
            if seen != self._seen:
                self._packages = self._read_packages()
                self._seen = seen
            missing = {digest: _first_missing(files) for digest, files in self._packages.items()}
            self._damaged = {digest: path for digest, path in missing.items() if path}
            return frozenset(digest for digest, path in missing.items() if not path)
        except OSError as error:
            raise unavailable(self._folder, error) from error

    def damaged(self) -> Mapping[str, str]:
        """Return the packages that are named but were not whole when ``published`` was last called, with their defect.

        Raises:
            DeliveryUnavailable, DeliveryError: As in published.
        """
        if self._seen is None:
            self.published()
        found = {digest: path.removeprefix(f"{self._folder}/") for digest, path in self._damaged.items()}
        return {digest: f"{path} missing or of another size" for digest, path in found.items()}

    def looked_at(self) -> tuple[list[str], dict[str, int]]:
        """List the files that ``published`` read, and the sizes of those it looked for; only where all were there.

        Raises:
            DeliveryUnavailable, DeliveryError: As in published.
        """
        timestamp = str(self._folder / METADATA / "timestamp.json")
        if self._seen is None:
            return [timestamp], {}
        try:
            snapshot = self._snapshot()
            version = self._signed("timestamp.json")["meta"]["snapshot.json"]["version"]
            names = (f"{version}.snapshot.json", versioned_name(snapshot, PACKAGES_ROLE))
        except OSError as error:
            raise unavailable(self._folder, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(self._folder, error) from error
        read = [timestamp, *(str(self._folder / METADATA / name) for name in names)]
        read += [next(iter(files)) for files in self._packages.values()]
        return read, {path: size for files in self._packages.values() for path, size in files.items()}

    def assigned(self) -> Mapping[str, int]:
        """Return the versions of the assignments, by device; reads every bin, so it is not for every plan.

        Raises:
            DeliveryUnavailable, DeliveryError: As in published.
        """
        try:
            seen = self._identity()
            if seen is None:
                return {}
            if self._assigned is not None and self._assigned[0] == seen:
                return self._assigned[1]
            snapshot = self._snapshot()
            bins = [self._signed(versioned_name(snapshot, role)) for role in self._bins(snapshot)]
            targets = [item for signed in bins for item in signed["targets"].items()]
            found = {
                path.rpartition("/")[2].removesuffix(".json"): int(target.get("custom", {}).get("version", 0))
                for path, target in targets
            }
            self._assigned = seen, MappingProxyType(found)
            return self._assigned[1]
        except OSError as error:
            raise unavailable(self._folder, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(self._folder, error) from error

    def expiries(self) -> Mapping[str, datetime]:
        """Return the expiry of each signature that devices check, by role; empty where there is no repository yet.

        Raises:
            DeliveryUnavailable, DeliveryError: As in published.
        """
        try:
            if self._identity() is None:
                return {}
            snapshot = self._snapshot()
            assignments = self._signed(versioned_name(snapshot, ASSIGNMENTS_ROLE))
            bins = self._bins(snapshot)
            names = {role: f"{role}.json" for role in ("root", "timestamp")}
            names |= {role: versioned_name(snapshot, role) for role in (TARGETS, PACKAGES_ROLE, *bins)}
            dates = {role: self._signed(name)["expires"] for role, name in names.items()}
            dates |= {"snapshot": snapshot["expires"], ASSIGNMENTS_ROLE: assignments["expires"]}
            return {role: datetime.fromisoformat(date) for role, date in dates.items()}
        except OSError as error:
            raise unavailable(self._folder, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(self._folder, error) from error

    def _identity(self) -> Identity | None:
        try:
            status = (self._folder / METADATA / "timestamp.json").stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read_packages(self) -> Mapping[str, Mapping[str, int]]:
        """Read the files of each package and their lengths, by the package's digest."""
        packages: dict[str, Mapping[str, int]] = {}
        try:
            targets = self._signed(versioned_name(self._snapshot(), PACKAGES_ROLE))["targets"]
            for path, target in targets.items():
                folder, _, name = path.rpartition("/")
                manifest = f"{self._folder}/{TARGETS}/{folder}/{target['hashes']['sha256']}.{name}"
                files = {manifest: int(target["length"])}
                if _are_there(files):
                    content = json.loads(Path(manifest).read_bytes())
                    for part in (content["config"], *content["layers"]):
                        files[f"{self._folder}/{blob_path(part['digest'])}"] = int(part["size"])
                digest = f"sha256:{name.removesuffix('.json')}"
                hex_of(digest)
                packages[digest] = files
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(self._folder, error) from error
        return packages

    def _bins(self, snapshot: Any) -> list[str]:
        return bin_names(self._signed(versioned_name(snapshot, ASSIGNMENTS_ROLE)))

    def _snapshot(self) -> Any:
        timestamp = self._signed("timestamp.json")
        return self._signed(f"{timestamp['meta']['snapshot.json']['version']}.snapshot.json")

    def _signed(self, name: str) -> Any:
        return json.loads((self._folder / METADATA / name).read_bytes())["signed"]


def bin_names(assignments: Any) -> list[str]:
    """Return the names of the roles that assignments are spread over."""
    bits = int(assignments["delegations"]["succinct_roles"]["bit_length"])
    width = len(f"{(1 << bits) - 1:x}")
    return [f"{BIN_PREFIX}-{number:0{width}x}" for number in range(1 << bits)]


def versioned_name(snapshot: Any, role: str) -> str:
    """Return the file name of a role's current version."""
    return f"{snapshot['meta'][f'{role}.json']['version']}.{role}.json"


def _are_there(files: Mapping[str, int]) -> bool:
    return not _first_missing(files)


def _first_missing(files: Mapping[str, int]) -> str:
    """Return the first file that is missing or has another size; empty when all are there."""
    for path, size in files.items():
        try:
            # Thousands are checked in one plan, and a Path would take most of the time.
            if os.stat(path).st_size != size:  # noqa: PTH116 - asked for every file of every artifact: a Path for each costs as much as the check
                return path
        except FileNotFoundError:
            return path
    return ""


def unavailable(folder: Path, error: OSError) -> DeliveryUnavailable:
    """Build the error for a repository that cannot be read."""
    return DeliveryUnavailable(
        f"cannot read the repository: {error.filename or folder}: {error.strerror or error}",
        hint="check that the folder is mounted and readable; spec.delivery.repository names it",
    )


def _unreadable(folder: Path, error: Exception) -> DeliveryError:
    return DeliveryError(
        f"the repository's metadata in {folder / METADATA} cannot be understood: {error}",
        hint="restore it from a copy, or name another folder as spec.delivery.repository",
    )
