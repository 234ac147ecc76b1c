"""A payload on the device: the folder in which another update system brought a model. Called by ``installer``.

That system has checked who made it; here its bytes are checked against its own digests, from the assignment down.
"""

import errno
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from edgewright_agent.errors import NotFound, SettingsError, Untrusted, local_error
from edgewright_agent.models.packages import problem_of, read_package
from edgewright_agent.repository.transport import DirectoryRepository
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.layout import PAYLOAD_ASSIGNMENT, PAYLOAD_MANIFEST, blob_path
from edgewright_wire.messages import Blob, ModelAssignment

LONGEST_ASSIGNMENT = 1024 * 1024
"""Bytes."""


def read_order(directory: Path) -> ModelAssignment:
    """Read what a payload wants installed.

    Raises:
        SettingsError: The folder holds no payload.
    """
    path = directory / PAYLOAD_ASSIGNMENT
    try:
        data = _read(path, LONGEST_ASSIGNMENT)
        return ModelAssignment.from_bytes(data)
    except OSError as error:
        raise SettingsError(f"{directory}: no payload: {path.name} cannot be read: {error}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise SettingsError(f"{path}: no assignment of a model: {where or 'the file'}: {problem['msg']}") from error


class Payload:
    """The files of a payload, as blobs by digest and as the one package that may be believed.

    Args:
        directory: The folder.
        target: What it wants installed.

    Raises:
        Untrusted: Its manifest or its files are not those of the assignment; every problem is told.
        LocalError: The disk refuses.
    """

    def __init__(self, directory: Path, target: ModelAssignment) -> None:
        self._files = DirectoryRepository(directory)
        try:
            self._manifest = _read(directory / PAYLOAD_MANIFEST, target.package.size)
        except FileNotFoundError as error:
            raise Untrusted("NotFound", f"{directory / PAYLOAD_MANIFEST}: not in the payload") from error
        except OSError as error:
            raise local_error(error, f"reading {directory / PAYLOAD_MANIFEST}") from error
        if digest_bytes(self._manifest) != target.package.digest:
            raise Untrusted("DigestMismatch", f"{directory / PAYLOAD_MANIFEST} is not {target.package.digest}")
        self._digest = target.package.digest
        package = read_package(self._manifest)
        files = [*package.files, *([(target.config.path, target.config)] if target.config is not None else [])]
        problem = problem_of(target, package)
        if not problem and PAYLOAD_ASSIGNMENT in {name for name, _ in files}:
            problem = f"package {target.package.digest}: {PAYLOAD_ASSIGNMENT} is a name of the payload's own"
        if problem:
            raise Untrusted("InvalidPackage", problem)
        problems = [found for name, blob in files if (found := _problem(directory / name, blob))]
        if problems:
            raise Untrusted(problems[0][0], "; ".join(message for _, message in problems))
        self._names = {blob_path(blob.digest): name for name, blob in files}

    def manifest(self, digest: str) -> bytes:
        """As in ManifestReader."""
        if digest != self._digest:
            raise NotFound("NotFound", f"package {digest} is not in the payload")
        return self._manifest

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """As in RepositoryReader."""
        if path not in self._names:
            raise NotFound("NotFound", f"{path} is not in the payload")
        yield from self._files.read(self._names[path], offset)


class NoPayload:
    """Source without a payload: only packages already on the device can be installed."""

    def manifest(self, digest: str) -> bytes:
        """As in ManifestReader."""
        raise NotFound("NotFound", f"package {digest} is not on the device any more; install it again")

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """As in RepositoryReader."""
        raise NotFound("NotFound", f"{path} is not on the device any more; install its package again")


def _read(path: Path, longest: int) -> bytes:
    """Read a file of at most so many bytes, and one more of a longer one.

    Raises:
        OSError: There is no such regular file.
    """
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such regular file", str(path))
    with path.open("rb") as file:
        return file.read(longest + 1)


def _problem(path: Path, blob: Blob) -> tuple[str, str] | None:
    """Return reason and message of a file that is missing or has another size."""
    if not path.is_file():
        return "NotFound", f"{path}: not in the payload"
    size = path.stat().st_size
    if size != blob.size:
        return "DigestMismatch", f"{path}: {size} bytes, expected are {blob.size}"
    return None
