"""Files that a spec pins by digest: copied from the repository or a URL, and refused where they are others.

Called by the steps import and train.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from edgewright.durable import space_for
from edgewright.errors import SourceUnavailable, StepFailed
from edgewright.pipeline.dataset.locations import is_url
from edgewright.pipeline.runner.tasks import ReportProgress, StepContext

_CHUNK = 1 << 20
_TRY_AGAIN = frozenset({408, 425, 429})
"""HTTP statuses below 500 that may pass."""


def fetch_pinned(context: StepContext, uri: str, digest: str, target: Path, field: str) -> str:
    """Copy the file a URI names and verify its digest.

    A relative path is looked for in the checkout, then in the folders of ``params["folders"]``.

    Args:
        context: Of the step.
        uri: A path of the repository, or a URL.
        digest: What its content must have.
        target: The file to write.
        field: The spec's field with the digest, for messages.

    Returns:
        The URI as it may be shown.

    Raises:
        StepFailed: It is not there, may not be read, or has another digest.
        SourceUnavailable: A server did not answer, or failed.
    """
    shown = without_secrets(uri)
    folders = (context.task.checkout, *map(Path, context.task.params.get("folders", ())))
    with _opened(uri, shown, folders) as (stream, size):
        found = _copy(stream, size, target, shown, context.progress)
    if found != digest:
        target.unlink()
        raise StepFailed(
            f"{shown} is not the file the spec pins: found {found}, expected {digest}",
            hint=f"if the new file is meant, write its digest to {field}; otherwise restore the file",
        )
    return shown


def without_secrets(uri: str) -> str:
    """Write a URL without what may be a credential: user information, query and fragment."""
    if not is_url(uri):
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _copy(stream: BinaryIO, size: int, target: Path, shown: str, progress: ReportProgress) -> str:
    """Copy a stream to a file; returns the sha256 of what was read."""
    digest = sha256()
    done = 0
    with space_for(target), target.open("wb") as file:
        while chunk := _read(stream, shown):
            digest.update(chunk)
            file.write(chunk)
            done += len(chunk)
            progress(done, max(size, done), "byte")
    return f"sha256:{digest.hexdigest()}"


def _read(stream: BinaryIO, shown: str) -> bytes:
    with _reading(shown):
        return stream.read(_CHUNK)


@contextmanager
def _opened(uri: str, shown: str, folders: tuple[Path, ...]) -> Iterator[tuple[BinaryIO, int]]:
    """Open what a URI names; yields the stream and its size, 0 where that is unknown."""
    if not is_url(uri):
        path = _find(uri, folders)
        with _reading(shown):
            stream: Any = path.open("rb")
        with stream:
            yield stream, path.stat().st_size
        return
    from fsspec.core import url_to_fs

    try:
        with _reading(shown):
            filesystem, path_there = url_to_fs(uri)
            stream = filesystem.open(path_there, "rb")
    except (ImportError, ValueError) as error:
        raise StepFailed(f"cannot read {shown}: {error}", hint="use a protocol that fsspec knows here") from error
    with stream:
        yield stream, int(getattr(stream, "size", None) or 0)


def _find(uri: str, folders: tuple[Path, ...]) -> Path:
    for folder in folders:
        path = folder / uri
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise StepFailed(
                    f"{uri} leads out of the repository",
                    hint="put the file into the repository, or name it as a URL: file:///path/model.onnx",
                )
            return path
    raise StepFailed(
        f"{uri} is not there", hint="it must be a file of the repository at this revision; is it committed?"
    )


@contextmanager
def _reading(shown: str) -> Iterator[None]:
    """Turn what reading raises into errors that say whether trying again may help."""
    try:
        yield
    except FileNotFoundError as error:
        # fsspec's HTTP client says "not found" of every failure; the cause knows better.
        if isinstance(cause := error.__cause__, Exception) and not isinstance(cause, FileNotFoundError):
            raise _from_server(shown, cause) from error
        raise StepFailed(f"{shown} is not there", hint="check the URL") from error
    except PermissionError as error:
        raise StepFailed(f"{shown} may not be read", hint="check the credentials this machine has for it") from error
    except _client_errors() as error:
        raise _from_server(shown, error) from error


def _client_errors() -> tuple[type[Exception], ...]:
    """List what means that reading failed; fsspec's HTTP client has its own base, once it has been imported."""
    aiohttp = sys.modules.get("aiohttp")
    return (OSError, aiohttp.ClientError) if aiohttp is not None else (OSError,)


def _from_server(shown: str, error: Exception) -> StepFailed | SourceUnavailable:
    status = getattr(error, "status", None)
    if isinstance(status, int) and status < 500 and status not in _TRY_AGAIN:
        hint = "check the credentials this machine has for it" if status in {401, 403} else "check the URL"
        return StepFailed(f"{shown} cannot be read: HTTP status {status}", hint=hint)
    what = f"HTTP status {status}" if status else str(error) or type(error).__name__
    return SourceUnavailable(f"{shown} did not answer: {what}")
