"""Brings files to a device, and has it verify them there. Called by ``visiting``."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from edgewright import durable
from edgewright.delivery.pushed.ssh import scripts
from edgewright.delivery.pushed.ssh.connecting import CHUNK, CommandResult, Line
from edgewright.delivery.pushed.ssh.errors import Trouble, Unfit
from edgewright.delivery.pushed.ssh.inspection import Inspection, answered, damaged, failure
from edgewright.delivery.pushed.ssh.missing_files import Piece, Upload, plan_upload
from edgewright.delivery.repository.depot import PayloadFile
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright_wire.canonical import digest_bytes, hex_of

_BLOCK = 512
_RECORD = 20 * _BLOCK
_MTIME = 1_577_836_800
"""2020: old enough for a device without a clock that runs, and not so old that tar wonders."""
_ATTEMPTS = 2
"""A second one where what was there before has other bytes."""
_PASSING = {
    "Busy": "the device is still at an earlier order",
    "Moved": "somebody else has changed the device meanwhile",
    "NotReceived": "the device did not take what was sent",
}
"""Failures that another pass may mend."""
_HINTS = {
    "NoSpace": "free space on the device",
    "NotWritable": "let the user write there, or name another root",
    "NotStored": "look at the folder on the device",
    "NoTool": "the device needs sha256sum",
    "NotSwitched": "the device needs ln, and mv with -T, as coreutils and busybox have them",
    "RestartFailed": "look at the application's log on the device",
}


def bring(
    line: Line, look: Inspection, files: Sequence[PayloadFile], stage: str, progress: Callable[[int], None]
) -> None:
    """Bring what a device lacks of a payload, verify all of it there, and stage it.

    Args:
        line: The connection.
        look: What is on the device.
        files: The payload.
        stage: How it is staged: ``scripts.payload`` or ``scripts.slot``.
        progress: Is told how many bytes were sent.

    Raises:
        Unfit: The device does not take it.
        Trouble: As Line.run; what was cut is continued by another call.
        DeliveryError, DeliveryUnavailable: The published files are gone, or have other bytes.
    """
    blobs, incoming = look.blobs, look.incoming
    for attempt in range(1, _ATTEMPTS + 1):
        upload = plan_upload(files, blobs, incoming)
        answer = _send(line, look, upload, stage, progress)
        if answered(answer.text, "staged"):
            return
        bad = damaged(answer.text)
        if not bad:
            error = refusal(answer, "NotReceived")
            if error.reason == "NoSpace":
                line.run(scripts.forget(look.store))  # a full disk harms more than the next upload costs
            raise error
        own = [file for file in files if hex_of(file.digest) in bad]
        if attempt == _ATTEMPTS:
            _check_own(own)
            line.run(scripts.forget(look.store))
            names = ", ".join(sorted({file.name for file in own}))
            raise Unfit("DigestMismatch", f"{names}: on the device are other bytes than were sent, twice")
        # What was verified is there under its own name; what has other bytes has been removed.
        incoming = {digest: size for digest, size in _sizes(files).items() if digest in dict(upload.brought)}
        incoming = {digest: size for digest, size in incoming.items() if digest not in bad}
        blobs = {digest: size for digest, size in blobs.items() if digest not in bad}


def refusal(answer: CommandResult, reason: str) -> Trouble:
    """Say why a script failed; what another pass may mend is no reason to give up."""
    said, words = failure(answer.text)
    if said in _PASSING:
        return Trouble(said, f"{_PASSING[said]}: {words}")
    hint = _HINTS.get(said, "")
    told = words or f"a script ended with {answer.status} and did not say why"
    return Unfit(said or reason, f"{told}; {hint}" if hint else told)


def _send(line: Line, look: Inspection, upload: Upload, stage: str, progress: Callable[[int], None]) -> CommandResult:
    unpack = look.tar and bool(upload.send)
    script = scripts.receive(look.store, upload.brought, upload.kept, stage, unpack=unpack)
    if unpack:
        return line.run(script, _packed(_tar(upload.send, progress)))
    for piece in upload.send:
        answer = line.run(scripts.take(look.store, piece.name), _content(piece, progress))
        if answer.status != 0:
            return answer
    return line.run(script)


def _tar(pieces: Sequence[Piece], progress: Callable[[int], None]) -> Iterator[bytes]:
    """Write a tar stream."""
    import tarfile

    written = 0
    for piece in pieces:
        header = tarfile.TarInfo(piece.name)
        header.size, header.mode, header.mtime = piece.size, 0o644, _MTIME
        yield header.tobuf(tarfile.GNU_FORMAT)
        yield from _content(piece, progress)
        padding = -piece.size % _BLOCK
        yield bytes(padding)
        written += _BLOCK + piece.size + padding
    yield bytes(2 * _BLOCK + -(written + 2 * _BLOCK) % _RECORD)


def _packed(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Put small pieces together, so that each packet is full."""
    buffer = bytearray()
    for part in stream:
        buffer += part
        while len(buffer) >= CHUNK:
            yield bytes(buffer[:CHUNK])
            del buffer[:CHUNK]
    yield bytes(buffer)


def _content(piece: Piece, progress: Callable[[int], None]) -> Iterator[bytes]:
    file, left = piece.file, piece.size
    if file.path is None:
        progress(left)
        yield file.data[piece.offset :]
        return
    try:
        with file.path.open("rb", buffering=0) as source:
            source.seek(piece.offset)
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
    """See that it is not the published file that has other bytes.

    Raises:
        DeliveryError: It is.
    """
    for file in files:
        if file.path is not None and durable.digest_file(file.path) != file.digest:
            raise DeliveryError(f"{file.path} has other bytes than its name says", hint="apply again, which mends it")
        if file.path is None and digest_bytes(file.data) != file.digest:
            raise DeliveryError(f"{file.name} has other bytes than its digest says", hint="apply again")


def _sizes(files: Sequence[PayloadFile]) -> dict[str, int]:
    return {hex_of(file.digest): file.size for file in files}
