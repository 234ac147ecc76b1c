"""The two slots of each model, and the pointer to the active one. Called by the other modules of ``models``.

::

    models/<model>/slots/{a,b}/   model.onnx golden.npz labels.json … manifest.json, the configuration, release.json
    models/<model>/active         symbolic link to slots/a or slots/b, replaced in one step
    models/<model>/.back          the same, to where the installer may have to go back; taking it needs no space

A slot is emptied and filled only while it is not active. Its marker, release.json, is removed first and written last:
a slot without a marker, or without every file the marker lists, holds nothing. Files get in as hard links to their
blobs and are never written in place, so a reader that has one open keeps what it opened.
"""

from pathlib import Path

from pydantic import ValidationError

from edgewright_agent.durable import Disk
from edgewright_agent.errors import local_error
from edgewright_agent.models.packages import Package, read_package
from edgewright_agent.repository.blobs import Blobs, digest_of_file
from edgewright_wire.markers import SlotFile, SlotMarker
from edgewright_wire.messages import Blob, ModelAssignment
from edgewright_wire.slots import ACTIVE, MANIFEST_FILE, MARKER_FILE, SLOTS, Slot, slot_path

BACK = ".back"


class ModelSlots:
    """One model's directory."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk

    def path(self, slot: Slot) -> Path:
        """A slot's directory."""
        return self._directory / slot_path(slot)

    @property
    def active_link(self) -> Path:
        """The pointer."""
        return self._directory / ACTIVE

    def active(self) -> Slot | None:
        """Return the active slot; None when there is none."""
        if not self.active_link.is_symlink():
            return None
        target = self.active_link.readlink().name
        return Slot(target) if target in set(Slot) else None

    def holds(self, slot: Slot) -> ModelAssignment | None:
        """Return the assignment that a slot holds completely."""
        path = self.path(slot)
        try:
            marker = SlotMarker.from_bytes((path / MARKER_FILE).read_bytes())
            whole = all((path / file.name).stat().st_size == file.size for file in marker.files)
        except (OSError, ValidationError):
            return None
        return marker.assignment if whole else None

    def stage(self, slot: Slot, target: ModelAssignment, package: Package, blobs: Blobs) -> None:
        """Fill a slot that is not active.

        Raises:
            Untrusted: A blob changed on the disk; it has been discarded.
            LocalError: The disk refuses.
            ValueError: The slot is active; a bug.
        """
        if self.active() is slot:
            raise ValueError(f"{self.path(slot)} is active")
        files = [*package.files, (MANIFEST_FILE, target.package)]
        if target.config is not None:
            files.append((target.config.path, target.config))
        for _, blob in files:
            blobs.check(blob)
        try:
            self._disk.make_directory(self.path(slot))
            self._empty(slot)
            for name, blob in files:
                self._disk.link(blobs.path(blob.digest), self.path(slot) / name)
            listed = tuple(SlotFile(name=name, size=_size(blobs, blob)) for name, blob in files)
            self._disk.write(self.path(slot) / MARKER_FILE, SlotMarker(assignment=target, files=listed).to_bytes())
        except OSError as error:
            raise local_error(error, f"staging {target.model} into slot {slot}") from error

    def damaged(self, slot: Slot) -> tuple[str, ...]:
        """List the files of a slot whose bytes are not those of what it holds.

        Raises:
            LocalError: The disk refuses.
        """
        path = self.path(slot)
        held = self.holds(slot)
        if held is None:
            return ()
        try:
            if digest_of_file(path / MANIFEST_FILE) != held.package.digest:
                return (MANIFEST_FILE,)
            files = list(read_package((path / MANIFEST_FILE).read_bytes()).files)
            if held.config is not None:
                files.append((held.config.path, held.config))
            return tuple(name for name, blob in files if digest_of_file(path / name) != blob.digest)
        except OSError as error:
            raise local_error(error, f"reading slot {slot}") from error

    def discard(self, slot: Slot) -> None:
        """Remove a slot's marker.

        Raises:
            LocalError: The disk refuses.
        """
        try:
            self._disk.unlink(self.path(slot) / MARKER_FILE)
        except OSError as error:
            raise local_error(error, f"discarding slot {slot}") from error

    def switch(self, slot: Slot) -> None:
        """Make a slot active.

        Raises:
            LocalError: The disk refuses.
        """
        back = self._directory / BACK
        try:
            if back.is_symlink() and back.readlink().name == slot:
                self._disk.rename(back, self.active_link)
            else:
                self._disk.point(self.active_link, slot_path(slot))
        except OSError as error:
            raise local_error(error, f"switching to slot {slot}") from error

    def prepare_way_back(self, slot: Slot) -> None:
        """Make ready a switch to a slot that a full disk cannot hinder.

        Raises:
            LocalError: The disk refuses.
        """
        try:
            self._disk.point(self._directory / BACK, slot_path(slot))
        except OSError as error:
            raise local_error(error, f"preparing the way back to slot {slot}") from error

    def deactivate(self) -> None:
        """Make no slot active.

        Raises:
            LocalError: The disk refuses.
        """
        try:
            self._disk.unlink(self.active_link)
        except OSError as error:
            raise local_error(error, "switching off a model") from error

    def remove(self) -> None:
        """Remove the model whole, pointer first.

        Raises:
            LocalError: The disk refuses.
        """
        self.deactivate()
        try:
            for slot in Slot:
                self._empty(slot)
                self._disk.remove_directory(self.path(slot))
            self._disk.remove_directory(self._directory / SLOTS)
            self._disk.unlink(self._directory / BACK)
            for left in self._directory.glob(".*.new") if self._directory.is_dir() else ():
                self._disk.unlink(left)
            self._disk.remove_directory(self._directory)
        except OSError as error:
            raise local_error(error, "removing a model") from error

    def _empty(self, slot: Slot) -> None:
        path = self.path(slot)
        if not path.is_dir():
            return
        self._disk.unlink(path / MARKER_FILE)
        for file in sorted(path.iterdir()):
            self._disk.unlink(file)


def _size(blobs: Blobs, blob: Blob) -> int:
    return blobs.path(blob.digest).stat().st_size
