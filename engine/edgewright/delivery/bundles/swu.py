"""Builds bundles for SWUpdate: a cpio archive of descriptor, signature, script and payload, in this order.

Format: https://sbabic.github.io/swupdate/sw-description.html and signed_images.html. The signature is over the
descriptor, which names the sha256 of everything else. Called by ``maker``.
"""

from collections.abc import Sequence
from pathlib import Path

from edgewright import durable
from edgewright.delivery.bundles.cpio import CpioWriter
from edgewright.delivery.bundles.descriptors import render_descriptor
from edgewright.delivery.bundles.orders import BundleOrder
from edgewright.delivery.bundles.scripts import ROOT_INCOMING, render_script
from edgewright.delivery.bundles.signing import sign_detached
from edgewright.delivery.identity.credentials import BundleKeys
from edgewright.delivery.repository.depot import PayloadFile
from edgewright.errors import DeliveryError
from edgewright_wire.canonical import digest_bytes, hex_of

DESCRIPTOR = "sw-description"
MIN_BYTES = 512 << 10
"""Smallest bundle: SWUpdate asks for the end of an installation as soon as it has passed all bytes on. A bundle that
fits into a socket's buffer is passed on before its installation begins, and the state of the one before is returned."""
_SCRIPT = "install.sh"
_MAX_PATH = 254
"""Bytes of a path that SWUpdate takes."""


def write_swu(
    path: Path, order: BundleOrder, files: Sequence[PayloadFile], template: tuple[str, str], keys: BundleKeys
) -> None:
    """Write a ``.swu``.

    Args:
        path: Of the bundle.
        order: Its effect.
        files: Its payload.
        template: Name and text of the descriptor's template.
        keys: Sign it.

    Raises:
        DeliveryError: The template cannot be rendered, or SWUpdate does not accept a path or file.
        OSError: It cannot be written.
    """
    script = render_script(order, files, "swu")
    folder = f"{order.delivery.root.rstrip('/')}/{ROOT_INCOMING}/{order.nonce}"
    entries = [(f"{number:03d}", file) for number, file in enumerate(files)]
    descriptor = render_descriptor(
        template,
        {
            **_texts(order),
            "hardware": [_escaped(revision) for revision in order.bundle.hardware],
            "script": {"entry": _SCRIPT, "sha256": hex_of(digest_bytes(script))},
            "files": [
                {
                    "entry": entry,
                    "path": _escaped(_checked(f"{folder}/{file.name}")),
                    "sha256": hex_of(file.digest),
                    "size": file.size,
                }
                for entry, file in entries
            ],
        },
    )
    with path.open("xb") as archive:
        cpio = CpioWriter(archive)
        cpio.add(DESCRIPTOR, descriptor)
        cpio.add(f"{DESCRIPTOR}.sig", sign_detached(descriptor, keys))
        cpio.add(_SCRIPT, script)
        for entry, file in entries:
            cpio.add(entry, _verified(file))
        cpio.add("padding", bytes(max(0, MIN_BYTES - archive.tell())))
        cpio.close()


def _texts(order: BundleOrder) -> dict[str, str]:
    texts = {
        "version": order.version,
        "description": order.description,
        "model": order.model,
        "release": order.target.release if order.target is not None else "",
        "root": order.delivery.root,
    }
    return {name: _escaped(text) for name, text in texts.items()}


def _escaped(text: str) -> str:
    """Escape text for a libconfig string."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(letter if letter.isprintable() else _bytes_escaped(letter) for letter in plain)


def _bytes_escaped(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode())


def _verified(file: PayloadFile) -> bytes | Path:
    """Return a file's content or path after checking its digest: a device refuses the whole bundle for one bad file."""
    if file.path is not None and durable.digest_file(file.path) != file.digest:
        raise DeliveryError(f"{file.path} has other bytes than its name says", hint="apply again, which mends it")
    return file.path or file.data


def _checked(path: str) -> str:
    if len(path.encode()) > _MAX_PATH:
        raise DeliveryError(
            f"SWUpdate takes no path of more than {_MAX_PATH} bytes: {path}", hint="shorten delivery.root"
        )
    return path
