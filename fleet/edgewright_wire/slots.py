"""Layout of the models on a device: two slots for each model, and a pointer to the active one.

::

    ROOT/models/<model>/slots/{a,b}/  model.onnx golden.npz labels.json … manifest.json, the configuration, release.json
    ROOT/models/<model>/active        symbolic link to slots/a or slots/b, replaced in one step

The agent, its installer, the scripts pushed over SSH and the scripts in bundles all write this layout, and
``ModelHandle`` reads it. A slot's marker, ``release.json``, is removed first and written last: a slot without a marker,
or without every file the marker lists, holds nothing.
"""

from enum import StrEnum

from edgewright_wire.messages import ModelAssignment, WireModel

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


class SlotFile(WireModel):
    """One file of a slot."""

    name: str
    size: int


class SlotMarker(WireModel):
    """Content of a slot's marker: the assignment that the slot holds, and the files that it takes."""

    assignment: ModelAssignment
    files: tuple[SlotFile, ...]


def slot_path(slot: str) -> str:
    """Return a slot's path below its model's folder; also the target of the active pointer."""
    return f"{SLOTS}/{slot}"


def idle_slot(active: Slot | None) -> Slot:
    """Return the slot that may be filled while ``active`` is in use."""
    return Slot.A if active is None else active.other
