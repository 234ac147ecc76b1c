"""Layout of the models on a device: two slots for each model, and a pointer to the active one.

::

    ROOT/models/<model>/slots/{a,b}/  model.onnx golden.npz labels.json … manifest.json, the configuration, release.json
    ROOT/models/<model>/active        symbolic link to slots/a or slots/b, replaced in one step

The agent, its installer, the scripts pushed over SSH and the scripts in bundles all write this layout, and
``ModelHandle`` reads it. A slot's marker, ``release.json``, is removed first and written last: a slot without a marker,
or without every file the marker lists, holds nothing. ``markers`` has its content.

This module needs the standard library alone: applications import it through ``ModelHandle``.
"""

from enum import StrEnum

MODELS = "models"
SLOTS = "slots"
ACTIVE = "active"
MARKER_FILE = "release.json"
MANIFEST_FILE = "manifest.json"
"""The package's manifest, as signed."""


class Slot(StrEnum):
    """One of the two folders that a model's files can be in."""

    A = "a"
    B = "b"

    @property
    def other(self) -> "Slot":
        """The other one."""
        return Slot.B if self is Slot.A else Slot.A


def slot_path(slot: str) -> str:
    """Return a slot's path below its model's folder; also the target of the active pointer."""
    return f"{SLOTS}/{slot}"


def idle_slot(active: Slot | None) -> Slot:
    """Return the slot that may be filled while ``active`` is in use."""
    return Slot.A if active is None else active.other
