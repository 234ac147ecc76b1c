"""Renders the scripts in bundles, which carry out the order on a device. Called by ``swu`` and ``raucb``.

With an installer on the device, the script runs it and passes on its evidence; the update fails if it fails. Without
one, the script checks digests and switches the model's slots itself, in plain sh.
"""

import shlex
from collections.abc import Sequence
from typing import Literal

from edgewright.delivery.bundles.orders import BundleOrder
from edgewright.delivery.repository.depot import PayloadFile
from edgewright_wire.canonical import hex_of
from edgewright_wire.slots import ACTIVE, MARKER_FILE, MODELS, SLOTS, Slot

ROOT_INCOMING = "incoming"
"""Folder below ROOT where SWUpdate puts a bundle's files."""


def render_script(order: BundleOrder, files: Sequence[PayloadFile], head: Literal["swu", "rauc"]) -> bytes:
    """Render the script of a bundle.

    Args:
        order: Its effect.
        files: The bundle's payload.
        head: The update system that calls it.
    """
    from edgewright_templates.bundles import read_template
    from edgewright_templates.devices import render_strictly

    body = "prove.sh" if order.proves else "place.sh"
    context = {
        "description": order.description,
        "root": shlex.quote(order.delivery.root.rstrip("/") or "/"),
        "model": shlex.quote(order.model),
        "nonce": order.nonce,
        "installer": order.installer if order.proves else "",
        "removes": order.target is None,
        "models": MODELS,
        "slots": SLOTS,
        "slot_a": Slot.A,
        "slot_b": Slot.B,
        "active": ACTIVE,
        "marker": MARKER_FILE,
        "files": [
            {"name": file.name, "quoted": shlex.quote(file.name), "sha256": hex_of(file.digest)}
            for file in files
            if order.proves or file.name != MARKER_FILE
        ],
    }
    return b"".join(render_strictly(read_template(part), context, part) for part in (f"{head}.sh", body))
