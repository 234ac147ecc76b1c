"""Uploads files to a device, which verifies them there. Called by ``jobs``."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from edgewright import durable
from edgewright.delivery.pushed.ssh import scripts
from edgewright.delivery.pushed.ssh.connection import CHUNK, CommandResult, SshConnection
from edgewright.delivery.pushed.ssh.errors import DeviceError, JobFailed
from edgewright.delivery.pushed.ssh.inspection import DeviceInspection, has_answer, parse_damaged, parse_failure
from edgewright.delivery.pushed.ssh.missing_files import UploadPart, UploadPlan, plan_upload
from edgewright.delivery.repository.depot import PayloadFile
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright_wire.canonical import digest_bytes, hex_of

_BLOCK = 512
_RECORD = 20 * _BLOCK
_MTIME = 1_577_836_800
"""2020: old enough for a device without a clock that runs, and not so old that tar wonders."""
_ATTEMPTS = 2
"""A second one where what was there before has other bytes."""
_RETRYABLE = {
    "Busy": "the device is still at an earlier order",
    "Moved": "somebody else has changed the device meanwhile",
    "NotReceived": "the device did not take what was sent",
}
"""Failures that another session may not meet again."""
_HINTS = {
    "NoSpace": "free space on the device",
    "NotWritable": "let the user write there, or name another root",
    "NotStored": "look at the folder on the device",
    "NoTool": "the device needs sha256sum",
    "NotSwitched": "the device needs ln, and mv with -T, as coreutils and busybox have them",
    "RestartFailed": "look at the application's log on the device",
}


def upload_payload(
    connection: SshConnection,
    inspection: DeviceInspection,
    files: Sequence[PayloadFile],
    stage: str,
    progress: Callable[[int], None],
) -> None:
    """Send the files that a device lacks of a payload, verify all of it there, and stage it.

    Args:
        connection: To the device.
        inspection: Of the device.
        files: The payload.
        stage: The script that stages it: ``scripts.stage_payload`` or ``scripts.fill_slot``.
        progress: Is called with the number of bytes that were sent.

    Raises:
        JobFailed: The device does not take it.
        DeviceError: As SshConnection.run; another call continues an interrupted upload.
        DeliveryError, DeliveryUnavailable: The published files are gone, or have other bytes.
    """
    blobs, incoming = inspection.blobs, inspection.incoming
    for attempt in range(1, _ATTEMPTS + 1):
        plan = plan_upload(files, blobs, incoming)
        result = _send(connection, inspection, plan, stage, progress)
        if has_answer(result.output, "staged"):
            return
        bad = parse_damaged(result.output)
        if not bad:
            error = script_failure(result, "NotReceived")
            if error.reason == "NoSpace":
                # A full disk harms more than the next upload costs.
                connection.run(scripts.clear_incoming(inspection.store))
            raise error
        own = [file for file in files if hex_of(file.digest) in bad]
        if attempt == _ATTEMPTS:
            _check_own(own)
            connection.run(scripts.clear_incoming(inspection.store))
            names = ", ".join(sorted({file.name for file in own}))
            raise JobFailed("DigestMismatch", f"{names}: on the device are other bytes than were sent, twice")
        # Verified files are there under their own names; the script has removed those with other bytes.
        incoming = {digest: size for digest, size in _sizes(files).items() if digest in dict(plan.received)}
        incoming = {digest: size for digest, size in incoming.items() if digest not in bad}
        blobs = {digest: size for digest, size in blobs.items() if digest not in bad}


def script_failure(result: CommandResult, reason: str) -> DeviceError:
    """Build the error of a script that failed; one that another session may not meet fails no job.

    Args:
        result: Of the script.
        reason: Where the device gave none.
    """
    given, words = parse_failure(result.output)
    if given in _RETRYABLE:
        return DeviceError(given, f"{_RETRYABLE[given]}: {words}")
    hint = _HINTS.get(given, "")
    message = words or f"a script ended with {result.status} and did not say why"
    return JobFailed(given or reason, f"{message}; {hint}" if hint else message)


def _send(
    connection: SshConnection,
    inspection: DeviceInspection,
    plan: UploadPlan,
    stage: str,
    progress: Callable[[int], None],
) -> CommandResult:
    unpack = inspection.has_tar and bool(plan.parts)
    script = scripts.receive(inspection.store, plan.received, plan.kept, stage, unpack=unpack)
    if unpack:
        return connection.run(script, _full_packets(_tar(plan.parts, progress)))
    for part in plan.parts:
        result = connection.run(scripts.receive_file(inspection.store, part.name), _content(part, progress))
        if result.status != 0:
            return result
    return connection.run(script)


def _tar(parts: Sequence[UploadPart], progress: Callable[[int], None]) -> Iterator[bytes]:
    """Write a tar stream."""
    import tarfile

    written = 0
    for part in parts:
        header = tarfile.TarInfo(part.name)
        header.size, header.mode, header.mtime = part.size, 0o644, _MTIME
        yield header.tobuf(tarfile.GNU_FORMAT)
        yield from _content(part, progress)
        padding = -part.size % _BLOCK
        yield bytes(padding)
        written += _BLOCK + part.size + padding
    yield bytes(2 * _BLOCK + -(written + 2 * _BLOCK) % _RECORD)


def _full_packets(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Join small chunks, so that each packet is full."""
    buffer = bytearray()
    for part in stream:
        buffer += part
        while len(buffer) >= CHUNK:
            yield bytes(buffer[:CHUNK])
            del buffer[:CHUNK]
    yield bytes(buffer)


def _content(part: UploadPart, progress: Callable[[int], None]) -> Iterator[bytes]:
    file, left = part.file, part.size
    if file.path is None:
        progress(left)
        yield file.data[part.offset :]
        return
    try:
        with file.path.open("rb", buffering=0) as source:
            source.seek(part.offset)
            while left > 0 and (chunk := source.read(min(CHUNK, left))):
                left -= len(chunk)
                progress(len(chunk))
                yield chunk
    except OSError as error:
        raise DeliveryUnavailable(
            f"cannot read {file.path}: {error.strerror}", hint="check that the published folder is mounted"
        ) from error
    if left:
        raise DeliveryError(f"{file.path} is {left} bytes too short", hint="apply again, which mends it")


def _check_own(files: Sequence[PayloadFile]) -> None:
    """Check that the published files have the bytes of their digests.

    Raises:
        DeliveryError: One has not.
    """
    for file in files:
        if file.path is not None and durable.digest_file(file.path) != file.digest:
            raise DeliveryError(f"{file.path} has other bytes than its name says", hint="apply again, which mends it")
        if file.path is None and digest_bytes(file.data) != file.digest:
            raise DeliveryError(f"{file.name} has other bytes than its digest says", hint="apply again")


def _sizes(files: Sequence[PayloadFile]) -> dict[str, int]:
    return {hex_of(file.digest): file.size for file in files}
