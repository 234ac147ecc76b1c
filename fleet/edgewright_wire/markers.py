"""Content of a slot's marker, ``release.json``: the assignment that the slot holds, and its files."""

from edgewright_wire.messages import ModelAssignment, WireModel


class SlotFile(WireModel):
    """One file of a slot."""

    name: str
    size: int


class SlotMarker(WireModel):
    """Content of a slot's marker: the assignment that the slot holds, and the files that it takes."""

    assignment: ModelAssignment
    files: tuple[SlotFile, ...]
