"""Orders: the content of an artifact, which installs a release of one model or removes the model.

Two update modules carry it out. ``edgewright`` is ours (``edgewright-agent mender-module``): it gets the payload
unchanged, installs it with the installer, verifies it and keeps the evidence. ``directory`` comes with Mender's client:
it replaces a folder, laid out like the installer's own, and proves nothing. Called by ``service``, and by
``wiring.bundlers`` for artifacts that are uploaded to a Mender server.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edgewright import durable
from edgewright.delivery.repository.depot import Depot, PayloadFile
from edgewright.delivery.served.mender.artifacts import ArtifactFile, MenderArtifact
from edgewright.delivery.served.mender.composed_file import ComposedFile, tar
from edgewright.errors import DeliveryError, DeliveryUnavailable
from edgewright_schemas.delivery import MenderServerSettings, MenderSettings
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.layout import PAYLOAD_ASSIGNMENT
from edgewright_wire.markers import SlotFile, SlotMarker
from edgewright_wire.messages import ModelAssignment
from edgewright_wire.slots import ACTIVE, MARKER_FILE, MODELS, Slot, slot_path

EVIDENCE = "edgewright_evidence_"
"""Prefix of the inventory attribute that holds a model's evidence; the model's name follows."""
INSTALLED = "edgewright_installed"
"""The inventory attribute with the installed models (``edgewright_wire.evidence.InstalledEvidence``)."""
_SLOT = slot_path(Slot.A)


@dataclass(frozen=True, slots=True)
class MenderOrder:
    """An order to install a release of a model on a device, or to remove the model."""

    model: str
    target: ModelAssignment | None
    """None: remove the model."""
    root: str
    """Folder of the models on the device."""
    nonce: str
    """Repeated in the evidence."""


def release_key(model: str) -> str:
    """Return the key of ``device_provides`` that holds the installed release of a model."""
    return f"edgewright.{model}.release"


def artifact_name(model: str, target: ModelAssignment | None, suffix: str) -> str:
    """Return an artifact's name, another for each order: a client skips an artifact with the name of its last one."""
    what = target.release[:24] if target is not None else "removed"
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{model}-{what}-{suffix}")


def compose_artifact(
    order: MenderOrder, name: str, settings: MenderSettings | MenderServerSettings, depot: Depot
) -> MenderArtifact:
    """Compose the artifact of an order.

    Raises:
        DeliveryError: The package is not published, or cannot be used.
        DeliveryUnavailable: The repository cannot be read.
    """
    payload = depot.payload(order.target) if order.target is not None else ()
    meta: dict[str, str] = {}
    if settings.module == "edgewright":
        files = [ArtifactFile(file.name, ComposedFile.of_file(file), hex_of(file.digest)) for file in payload]
        kind = "remove" if order.target is None else "install"
        meta = {"model": order.model, "nonce": order.nonce, "order": kind, "root": order.root}
    else:
        files = _directory(f"{order.root}/{MODELS}/{order.model}", payload)
    release = {release_key(order.model): order.target.release} if order.target is not None else {}
    return MenderArtifact(
        name=name,
        device_types=(settings.device_type,),
        module=settings.module,
        files=files,
        provides=release,
        clears=(release_key(order.model),),
        meta=meta,
    )


def _directory(folder: str, payload: Sequence[PayloadFile]) -> list[ArtifactFile]:
    """List the files for the update module ``directory``: a folder, and the archive that becomes its content."""
    where = folder.encode()
    update = _slot(tuple(payload))
    return [
        ArtifactFile("dest_dir", ComposedFile.of_bytes(where), hex_of(digest_bytes(where))),
        ArtifactFile("update.tar", update, _digest(tuple(payload))),
    ]


def _slot(payload: tuple[PayloadFile, ...]) -> ComposedFile:
    """Pack a model's folder as the installer lays it out; an empty archive where there is no payload."""
    files = [file for file in payload if file.name != PAYLOAD_ASSIGNMENT]
    assignment = next((file.data for file in payload if file.name == PAYLOAD_ASSIGNMENT), None)
    if assignment is None:
        return tar([])
    listed = tuple(SlotFile(name=file.name, size=file.size) for file in files)
    marker = SlotMarker(assignment=ModelAssignment.from_bytes(assignment), files=listed)
    packed = [(f"{_SLOT}/{file.name}", ComposedFile.of_file(file)) for file in files]
    packed.append((f"{_SLOT}/{MARKER_FILE}", ComposedFile.of_bytes(marker.to_bytes())))
    return tar(packed, links=[(ACTIVE, _SLOT)])


@lru_cache(maxsize=64)
def _digest(payload: tuple[PayloadFile, ...]) -> str:
    """Return the sha256 of a slot's archive, in hex; computed once for all devices that get the same.

    Raises:
        DeliveryError: A file has other bytes than its digest: they must not be signed.
        DeliveryUnavailable: A file cannot be read.
    """
    for file in payload:
        try:
            sound = file.path is None or durable.digest_file(file.path) == file.digest
        except OSError as error:
            raise DeliveryUnavailable(f"cannot read {file.path}: {error.strerror}", hint="apply again") from error
        if not sound:
            raise DeliveryError(f"{file.path} has other bytes than its name says", hint="apply again, which mends it")
    return _slot(payload).digest()
