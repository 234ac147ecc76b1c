"""What devices answered to scripts. Pure; called by ``visiting``.

A device may say anything: what cannot be read is passed over, and what is missing is not known.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import ModelTwin
from edgewright.delivery.pushed.ssh.scripts import MARK
from edgewright_wire.evidence import InstalledEvidence
from edgewright_wire.messages import ModelAssignment, ModelReport, WireModel

MANY = 500
"""Characters of what a device said that are passed on."""
_MODEL = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SLOTS = ("a", "b")
_FULL = ("No space left on device", "Disk quota exceeded")


class SlotFile(WireModel):
    """One file of a slot."""

    name: str
    size: int


class Marker(WireModel):
    """What a slot says it holds; as the agent writes it."""

    assignment: ModelAssignment
    files: tuple[SlotFile, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of a model."""

    name: str
    active: bool
    marker: Marker
    whole: bool
    """Every file that it lists is there, in its size."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """One device, as a look has shown it."""

    store: str
    """Where files are brought to."""
    foreign: bool = False
    """The user may not write where models are."""
    agent: bool = False
    """An agent runs there, and owns the folder."""
    tar: bool = False
    blobs: Mapping[str, int] = field(default_factory=dict)
    """Sizes by sha256 in hex."""
    incoming: Mapping[str, int] = field(default_factory=dict)
    """Sizes of pieces by name."""
    slots: Mapping[str, tuple[Slot, ...]] = field(default_factory=dict)
    """By model."""
    reports: tuple[ModelReport, ...] | None = None
    """What the installer says; None: it said nothing that can be read."""
    asked: int | None = None
    """Exit status of the installer, if it was asked."""
    text: str = ""
    """Everything the device said."""

    def active(self, model: str) -> Slot | None:
        """The slot of a model that is active."""
        return next((slot for slot in self.slots.get(model, ()) if slot.active), None)

    def idle(self, model: str) -> str:
        """The slot that can be filled."""
        active = self.active(model)
        return "b" if active is not None and active.name == "a" else "a"


def read_look(text: str) -> Inspection | None:
    """Read what ``scripts.look`` printed; None where it did not come to its end."""
    said = list(_said(text))
    if not any(word == "end" for word, _ in said):
        return None
    listed = _listing(_part(text, "files"))
    store = next((words for word, words in said if word == "store"), "")
    reports, asked = read_installed(text)
    return Inspection(
        store=store,
        foreign=any(word == "foreign" for word, _ in said),
        agent=any(word == "agent" for word, _ in said),
        tar=any(word == "tar" for word, _ in said),
        blobs=listed.get(f"{store}/blobs", {}),
        incoming=listed.get(f"{store}/incoming", {}),
        slots=_slots(said, listed),
        reports=reports,
        asked=asked,
        text=text,
    )


def read_installed(text: str) -> tuple[tuple[ModelReport, ...] | None, int | None]:
    """Read what the installer said that is installed, and its exit status."""
    status = next((words for word, words in _said(text) if word == "installed"), "")
    for line in _part(text, "asked"):
        if line.startswith('{"evidence":'):
            try:
                return InstalledEvidence.from_bytes(line.encode()).models, int(status or -1)
            except (ValidationError, ValueError):
                break
    return None, int(status) if status.isdigit() else None


def read_active(text: str) -> Mapping[str, ModelAssignment] | None:
    """Read which models a script found active; None where it may not look."""
    if not answered(text, "looked"):
        return None
    return {model: marker.assignment for _, active, model, marker in _markers(_said(text)) if active}


def answered(text: str, word: str) -> bool:
    """Whether a script said this word."""
    return any(said == word for said, _ in _said(text))


def damaged(text: str) -> frozenset[str]:
    """Read which files had other bytes: sha256 in hex."""
    return frozenset(words for word, words in _said(text) if word == "damaged")


def failure(text: str) -> tuple[str, str]:
    """Read why a script failed: a reason, and the device's own words."""
    said = next((words for word, words in _said(text) if word == "failed"), "")
    reason, _, words = said.partition(" ")
    if any(full in text for full in _FULL):
        return "NoSpace", words_of(text) or words
    return reason, ": ".join(part for part in (words, words_of(text)) if part)


def order_status(text: str) -> int | None:
    """Read the exit status of the installer."""
    status = next((words for word, words in _said(text) if word == "status"), "")
    return int(status) if status.isdigit() else None


def words_of(text: str) -> str:
    """What a device said beside answers: its last words, on one line."""
    own = [line.strip() for line in text.split("\n") if line.strip() and not line.startswith((MARK, "{"))]
    return "".join(letter if letter.isprintable() else "?" for letter in " / ".join(own))[-MANY:]


def installed(look: Inspection, proof: Proof, known: Iterable[ModelAssignment]) -> Mapping[str, ModelTwin]:
    """Say of each model what is active, and what was shown of it.

    Args:
        look: What was seen.
        proof: What devices have to show.
        known: What may be there, where the device does not say it whole.
    """
    if proof is Proof.INSTALLED:
        found = {model: look.active(model) for model in look.slots}
        return {
            model: ModelTwin(model, slot.marker.assignment, Proof.INSTALLED)
            for model, slot in found.items()
            if slot is not None and slot.whole
        }
    marked = [slot.marker.assignment for slots in look.slots.values() for slot in slots]
    candidates = [*marked, *known]
    models: dict[str, ModelTwin] = {}
    for report in look.reports or ():
        here = (report.model, report.active, report.active_release)
        fitting = (each for each in candidates if (each.model, each.package.digest, each.release) == here)
        if (target := next(fitting, None)) is not None:
            proved = report.verified is not None and report.verified == report.active
            models[report.model] = ModelTwin(
                report.model, target, Proof.VERIFIED if proved else None, report.probe if proved else None
            )
    return models


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _said(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        if line.startswith(f"{MARK} "):
            word, _, words = line[len(MARK) + 1 :].partition(" ")
            yield word, words


def _part(text: str, word: str) -> list[str]:
    """Give the lines after an answer, up to the next one."""
    lines = text.split("\n")
    start = f"{MARK} {word}"
    if start not in lines:
        return []
    after = lines[lines.index(start) + 1 :]
    end = next((index for index, line in enumerate(after) if line.startswith(f"{MARK} ")), len(after))
    return after[:end]


def _listing(lines: Iterable[str]) -> dict[str, dict[str, int]]:
    """Read ``ls -ln``: sizes by name, by folder."""
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
    """Write a name as the poorest ``ls`` does: busybox has a question mark for each byte that is not ASCII."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in name.encode()).strip()


def _markers(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, bool, str, Marker]]:
    for word, words in said:
        parts = words.split(" ", 3)
        if word == "slot" and len(parts) == 4 and _MODEL.fullmatch(parts[2]):
            try:
                marker = Marker.from_bytes(parts[3].encode())
            except (ValidationError, ValueError):
                continue
            if marker.assignment.model == parts[2]:
                yield parts[0], parts[1] == "active", parts[2], marker


def _slots(said: Iterable[tuple[str, str]], listed: Mapping[str, Mapping[str, int]]) -> dict[str, tuple[Slot, ...]]:
    found: dict[str, tuple[Slot, ...]] = {}
    for name, active, model, marker in _markers(said):
        if name in _SLOTS:
            here = listed.get(f"models/{model}/slots/{name}", {})
            whole = all(here.get(_shown(file.name)) == file.size for file in marker.files)
            found[model] = (*found.get(model, ()), Slot(name, active, marker, whole))
    return found
