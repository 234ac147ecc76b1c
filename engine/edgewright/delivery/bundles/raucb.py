"""Builds bundles for RAUC, with RAUC's own program. Called by ``maker``.

The bundle has a handler instead of images: RAUC checks the signature and runs the handler, and no slot of the system is
written or marked. Format: https://rauc.readthedocs.io/en/latest/reference.html#manifest.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgewright.delivery.bundles.descriptors import render_descriptor
from edgewright.delivery.bundles.orders import BundleOrder
from edgewright.delivery.bundles.scripts import render_script
from edgewright.delivery.identity.credentials import BundleKeys
from edgewright.delivery.repository.depot import PayloadFile
from edgewright.errors import DeliveryError

_SCRIPT = "handler.sh"
_TELL = "tell.py"
_SECONDS = 600.0
_PADDING_BYTES = 8192
_PROGRAMS = {"rauc": "rauc", "mksquashfs": "squashfs-tools"}
"""And the Debian packages they are in."""


def write_rauc(
    path: Path, order: BundleOrder, files: Sequence[PayloadFile], template: tuple[str, str], keys: BundleKeys
) -> None:
    """Write a RAUC bundle.

    Args:
        path: Of the bundle.
        order: Its effect.
        files: Its payload.
        template: Name and text of the manifest's template.
        keys: Sign it.

    Raises:
        DeliveryError: The template cannot be rendered, RAUC's programs are not installed or fail, or a payload file
            has other bytes.
        OSError: It cannot be written.
    """
    rauc = _program("rauc")
    _program("mksquashfs")
    with tempfile.TemporaryDirectory(prefix="rauc-", dir=path.parent) as folder:
        content = Path(folder) / "content"
        (content / "payload").mkdir(parents=True)
        (content / "manifest.raucm").write_bytes(_manifest(order, template))
        _write_program(content / _SCRIPT, render_script(order, files, "rauc"))
        if order.proves:
            from edgewright_templates.bundles import read_template

            _write_program(content / _TELL, read_template(_TELL).encode())
        for file in files:
            (content / "payload" / file.name).write_bytes(file.read())
        (content / "padding").write_bytes(_padding())
        command = [rauc, "bundle", f"--cert={keys.certificate_file}", f"--key={keys.key_file}", str(content), str(path)]
        _run(command, Path(folder))


def _manifest(order: BundleOrder, template: tuple[str, str]) -> bytes:
    texts = {
        "version": order.version,
        "description": order.description,
        "model": order.model,
        "release": order.target.release if order.target is not None else "",
        "root": order.delivery.root,
        "compatible": order.bundle.compatible,
    }
    for name, text in texts.items():
        if not text.isprintable():
            raise DeliveryError(
                f"{text!r} cannot stand in a RAUC manifest as {name}", hint="use characters that can be seen"
            )
    return render_descriptor(template, {**texts, "script": {"entry": _SCRIPT}})


def _padding() -> bytes:
    """Return bytes that cannot be compressed: a verity bundle must have more than one block."""
    return b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(_PADDING_BYTES // 32))


def _write_program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise DeliveryError(
            f"bundles for RAUC are built with the program {name}, which is not here",
            hint=f"on Debian or Ubuntu: apt-get install {' '.join(_PROGRAMS.values())}",
        )
    return found


def _run(command: Sequence[str], folder: Path) -> None:
    # In UTC and English, and with no time in what is built but a fixed one.
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": "0", "TMPDIR": str(folder)}
    try:
        subprocess.run(
            command, check=True, capture_output=True, timeout=_SECONDS, env=environment, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise DeliveryError(f"rauc bundle did not end within {_SECONDS:.0f} s", hint="try again") from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip().splitlines()
        raise DeliveryError(f"rauc bundle refused: {' '.join(words[-3:])}", hint="see its words") from error
