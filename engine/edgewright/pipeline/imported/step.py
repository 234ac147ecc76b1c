"""The import step: fetches an existing ONNX file, checked against its pinned digest. The worker calls it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from edgewright.core.facts import ModelFacts
from edgewright.durable import space_for
from edgewright.errors import SourceUnavailable, StepFailed
from edgewright.pipeline.dataset.locations import is_url
from edgewright.pipeline.imported.adapting import adapt
from edgewright.pipeline.imported.onnx_checks import MODEL, built_from_onnx
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.ports import Built
from edgewright_schemas.model import ModelSpec

_CHUNK = 1 << 20
_TRY_AGAIN = frozenset({408, 425, 429})
"""HTTP statuses below 500 that may pass."""


def build(context: StepContext) -> Built[ModelFacts]:
    """Copy the file the spec names, verify its digest, adapt it to the interface declared and check that it is a model.

    A relative path is looked for in the checkout, then in the folders of ``params["folders"]``.

    Raises:
        StepFailed: It is not there, may not be read, has another digest, or is no usable ONNX file.
        SourceUnavailable: A server did not answer, or failed.
    """
    task = context.task
    spec = ModelSpec.model_validate(task.spec)
    source = spec.source
    assert source is not None
    shown = without_secrets(source.uri)
    target = context.out / MODEL
    folders = (task.checkout, *map(Path, task.params.get("folders", ())))
    with _opened(source.uri, shown, folders) as (stream, size):
        found = _copy(stream, size, target, shown, context)
    if found != source.digest:
        target.unlink()
        raise StepFailed(
            f"{shown} is not the file the spec pins: found {found}, expected {source.digest}",
            hint="if the new file is meant, write its digest to source.digest; otherwise restore the file",
        )
    if spec.interface is not None:
        adapt(target, shown, spec.interface)
    return built_from_onnx(target, shown, context.dataset_or_none())


def without_secrets(uri: str) -> str:
    """Write a URL without what may be a credential: user information, query and fragment."""
    if not is_url(uri):
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _copy(stream: BinaryIO, size: int, target: Path, shown: str, context: StepContext) -> str:
    """Copy a stream to a file; returns the sha256 of what was read."""
    digest = sha256()
    done = 0
    with space_for(target), target.open("wb") as file:
        while chunk := _read(stream, shown):
            digest.update(chunk)
            file.write(chunk)
            done += len(chunk)
            context.progress(done, max(size, done), "byte")
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
