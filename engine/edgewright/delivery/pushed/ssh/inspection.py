"""Parses the output of scripts on devices. Pure; called by ``session``, ``jobs`` and ``upload``.

A device may print anything: lines that cannot be parsed are skipped, and missing ones leave a value unknown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import ModelTwin
from edgewright.delivery.pushed.ssh.scripts import MARK
from edgewright_wire.evidence import InstalledEvidence
from edgewright_wire.markers import SlotMarker
from edgewright_wire.messages import ModelAssignment, ModelReport
from edgewright_wire.names import is_model_name
from edgewright_wire.slots import MODELS, Slot, idle_slot, slot_path

MAX_OUTPUT_CHARACTERS = 500
"""Characters of a device's own output that messages quote."""
_FULL = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True, slots=True)
class DeviceSlot:
    """One slot of a model."""

    name: str
    active: bool
    marker: SlotMarker
    whole: bool
    """Every file that it lists is there, in its size."""


@dataclass(frozen=True, slots=True)
class DeviceInspection:
    """State of one device, as ``scripts.inspect`` found it."""

    store: str
    """Folder for uploaded files."""
    read_only: bool = False
    """The user may not write the folder of the models."""
    has_agent: bool = False
    """An agent runs there, and owns the folder."""
    has_tar: bool = False
    blobs: Mapping[str, int] = field(default_factory=dict)
    """Sizes by sha256 in hex."""
    incoming: Mapping[str, int] = field(default_factory=dict)
    """Sizes of parts by name."""
    slots: Mapping[str, tuple[DeviceSlot, ...]] = field(default_factory=dict)
    """By model."""
    reports: tuple[ModelReport, ...] | None = None
    """Models that the installer reports; None: it reported nothing that can be parsed."""
    installer_status: int | None = None
    """Exit status of the installer, if it was run."""
    output: str = ""
    """Everything the device printed."""

    def active(self, model: str) -> DeviceSlot | None:
        """Return the active slot of a model."""
        return next((slot for slot in self.slots.get(model, ()) if slot.active), None)

    def idle(self, model: str) -> str:
        """Return the name of the slot that can be filled."""
        active = self.active(model)
        return idle_slot(Slot(active.name) if active is not None else None)


def parse_inspection(text: str) -> DeviceInspection | None:
    """Parse the output of ``scripts.inspect``; None where it did not come to its end."""
    answers = list(_answers(text))
    if not any(word == "end" for word, _ in answers):
        return None
    listed = _listing(_part(text, "files"))
    store = next((words for word, words in answers if word == "store"), "")
    reports, installer_status = parse_installed(text)
    return DeviceInspection(
        store=store,
        read_only=any(word == "foreign" for word, _ in answers),
        has_agent=any(word == "agent" for word, _ in answers),
        has_tar=any(word == "tar" for word, _ in answers),
        blobs=listed.get(f"{store}/blobs", {}),
        incoming=listed.get(f"{store}/incoming", {}),
        slots=_slots(answers, listed),
        reports=reports,
        installer_status=installer_status,
        output=text,
    )


def parse_installed(text: str) -> tuple[tuple[ModelReport, ...] | None, int | None]:
    """Parse the installed models that the installer reported, and its exit status."""
    status = next((words for word, words in _answers(text) if word == "installed"), "")
    for line in _part(text, "asked"):
        if line.startswith('{"evidence":'):
            try:
                return InstalledEvidence.from_bytes(line.encode()).models, int(status or -1)
            except (ValidationError, ValueError):
                break
    return None, int(status) if status.isdigit() else None


def parse_active(text: str) -> Mapping[str, ModelAssignment] | None:
    """Parse the active models that a script found; None where it may not read their folders."""
    if not has_answer(text, "looked"):
        return None
    return {model: marker.assignment for _, active, model, marker in _markers(_answers(text)) if active}


def has_answer(text: str, word: str) -> bool:
    """Return True if a script printed this answer."""
    return any(answer == word for answer, _ in _answers(text))


def parse_damaged(text: str) -> frozenset[str]:
    """Parse the files that had other bytes: sha256 in hex."""
    return frozenset(words for word, words in _answers(text) if word == "damaged")


def parse_failure(text: str) -> tuple[str, str]:
    """Parse the failure of a script: a reason, and the device's own words."""
    answer = next((words for word, words in _answers(text) if word == "failed"), "")
    reason, _, words = answer.partition(" ")
    if any(full in text for full in _FULL):
        return "NoSpace", device_output(text) or words
    return reason, ": ".join(part for part in (words, device_output(text)) if part)


def parse_order_status(text: str) -> int | None:
    """Parse the exit status of the installer's order."""
    status = next((words for word, words in _answers(text) if word == "status"), "")
    return int(status) if status.isdigit() else None


def device_output(text: str) -> str:
    """Return the output that is no answer, on one line; its last characters."""
    own = [line.strip() for line in text.split("\n") if line.strip() and not line.startswith((MARK, "{"))]
    return "".join(letter if letter.isprintable() else "?" for letter in " / ".join(own))[-MAX_OUTPUT_CHARACTERS:]


def installed_models(
    inspection: DeviceInspection, proof: Proof, known: Iterable[ModelAssignment]
) -> Mapping[str, ModelTwin]:
    """Return each model's active release and its proof, by model.

    Args:
        inspection: Of the device.
        proof: What devices have to prove.
        known: Releases that may be there, where the device does not name them whole.
    """
    if proof is Proof.INSTALLED:
        found = {model: inspection.active(model) for model in inspection.slots}
        return {
            model: ModelTwin(model, slot.marker.assignment, Proof.INSTALLED)
            for model, slot in found.items()
            if slot is not None and slot.whole
        }
    marked = [slot.marker.assignment for slots in inspection.slots.values() for slot in slots]
    candidates = [*marked, *known]
    models: dict[str, ModelTwin] = {}
    for report in inspection.reports or ():
        here = (report.model, report.active, report.active_release)
        fitting = (each for each in candidates if (each.model, each.package.digest, each.release) == here)
        if (target := next(fitting, None)) is not None:
            proved = report.verified is not None and report.verified == report.active
            models[report.model] = ModelTwin(
                report.model, target, Proof.VERIFIED if proved else None, report.probe if proved else None
            )
    return models


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _answers(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        if line.startswith(f"{MARK} "):
            word, _, words = line[len(MARK) + 1 :].partition(" ")
            yield word, words


def _part(text: str, word: str) -> list[str]:
    """Return the lines after an answer, up to the next one."""
    lines = text.split("\n")
    start = f"{MARK} {word}"
    if start not in lines:
        return []
    after = lines[lines.index(start) + 1 :]
    end = next((index for index, line in enumerate(after) if line.startswith(f"{MARK} ")), len(after))
    return after[:end]


def _listing(lines: Iterable[str]) -> dict[str, dict[str, int]]:
    """Parse ``ls -ln``: sizes by name, by folder."""
    folders: dict[str, dict[str, int]] = {}
    here: dict[str, int] = {}
    for line in lines:
        if line.endswith(":") and not line.startswith("-"):
            here = folders.setdefault(line[:-1], {})
        fields = line.split(None, 8)
        if len(fields) == 9 and fields[0].startswith("-") and fields[4].isdigit():
            here[_shown(fields[8])] = int(fields[4])
    return folders


def _shown(name: str) -> str:
    """Return a name as the simplest ``ls`` prints it: busybox has a question mark for each byte that is not ASCII."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in name.encode()).strip()


def _markers(answers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, bool, str, SlotMarker]]:
    for word, words in answers:
        parts = words.split(" ", 3)
        if word == "slot" and len(parts) == 4 and is_model_name(parts[2]):
            try:
                marker = SlotMarker.from_bytes(parts[3].encode())
            except (ValidationError, ValueError):
                continue
            if marker.assignment.model == parts[2]:
                yield parts[0], parts[1] == "active", parts[2], marker


def _slots(
    answers: Iterable[tuple[str, str]], listed: Mapping[str, Mapping[str, int]]
) -> dict[str, tuple[DeviceSlot, ...]]:
    found: dict[str, tuple[DeviceSlot, ...]] = {}
    for name, active, model, marker in _markers(answers):
        if name in set(Slot):
            here = listed.get(f"{MODELS}/{model}/{slot_path(name)}", {})
            whole = all(here.get(_shown(file.name)) == file.size for file in marker.files)
            found[model] = (*found.get(model, ()), DeviceSlot(name, active, marker, whole))
    return found
