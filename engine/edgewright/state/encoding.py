"""Values to table rows and back, for ``reading`` and ``writing``. Nothing here knows a database.

Bodies of devices are compared as text when a rollout is saved, so encoding the same value twice gives the same text.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import from_json
from pydantic_core import to_json as pydantic_json

from edgewright.core.address import Address, parse_address
from edgewright.core.artifact import BUILD_ACTIONS, Action, Artifact, FileRef
from edgewright.core.facts import parse_facts
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import (
    Controls,
    DeviceProgress,
    DeviceState,
    Release,
    RolloutState,
    RolloutSummary,
    summarize,
)
from edgewright.core.status.conditions import Condition
from edgewright.ports import DeviceAssignment, Event, Intent
from edgewright.state.errors import UNREADABLE, unreadable
from edgewright_wire.messages import Assignment

Row = tuple[Any, ...]
R = TypeVar("R")
V = TypeVar("V")
T = TypeVar("T")


class Decoded(Mapping[str, V], Generic[V, R]):
    """Rows by key, each decoded when it is first looked at: a plan looks at few of many."""

    def __init__(self, rows: dict[str, R], decode: Callable[[R], V]) -> None:
        self._rows = rows
        self._decode = decode
        self._values: dict[str, V] = {}

    def __getitem__(self, key: str) -> V:
        """Find one value."""
        value = self._values.get(key)
        if value is None:
            row = self._rows[key]
            try:
                value = self._values[key] = self._decode(row)
            except UNREADABLE as error:
                raise unreadable(key, error) from error
        return value

    def __iter__(self) -> Iterator[str]:
        """List the keys in stored order."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        """Check whether there is such a row; it is not decoded."""
        return key in self._rows

    def __repr__(self) -> str:
        return f"Decoded({dict(self)!r})"


def to_json(value: Any) -> str:
    """Write compact JSON; the order of keys is kept, for columns have one."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def to_text(moment: datetime | None) -> str | None:
    """Write a time as UTC text of fixed width, which sorts like the time itself.

    Raises:
        ValueError: The time has no zone.
    """
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {moment}")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def to_time(text: str | None) -> datetime | None:
    """Read a time written by ``to_text``."""
    return None if text is None else datetime.fromisoformat(text)


def certain_text(moment: datetime) -> str:
    """Write a time that is there."""
    text = to_text(moment)
    assert text is not None
    return text


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(type_: type[T]) -> TypeAdapter[T]:
    """Make a type's adapter when it is first used; making one takes milliseconds."""
    if type_ not in _adapters:
        _adapters[type_] = TypeAdapter(type_)
    return _adapters[type_]


def dump(type_: type[T], value: T) -> str:
    """Write a dataclass as JSON."""
    return _adapter(type_).dump_json(value).decode()


def load(type_: type[T], text: str) -> T:
    """Read a dataclass from JSON."""
    return _adapter(type_).validate_json(text)


# ── artifacts ─────────────────────────────────────────────────────────────────────────────────────────────────

ARTIFACT_COLUMNS = ("fingerprint", "action", "address", "digest", "seconds", "created_at", "body")


def artifact_row(artifact: Artifact) -> Row:
    """Write an artifact in the order of ARTIFACT_COLUMNS."""
    body = {
        "files": {name: [file.digest, file.size] for name, file in artifact.files.items()},
        "facts": _facts_json(artifact),
        "components": dict(artifact.components),
        "environment": dict(artifact.environment),
    }
    return (
        artifact.fingerprint,
        str(artifact.action),
        str(artifact.address),
        artifact.digest,
        artifact.seconds,
        to_text(artifact.created_at),
        to_json(body),
    )


def _facts_json(artifact: Artifact) -> dict[str, Any]:
    """Return the stored facts; the artifact's inputs are kept among them, as every version has."""
    facts = artifact.facts.to_json()
    return {**facts, "inputs": dict(artifact.inputs)} if artifact.action in BUILD_ACTIONS else facts


def artifact_of(row: Row) -> Artifact:
    """Read an artifact."""
    fingerprint, action, address, digest, seconds, created_at, text = row
    body = from_json(text)
    facts = {key: value for key, value in body["facts"].items() if key != "inputs"}
    return Artifact(
        fingerprint=fingerprint,
        action=Action(action),
        address=parse_address(address),
        digest=digest,
        files={name: FileRef(*file) for name, file in body["files"].items()},
        facts=parse_facts(action, facts),
        components=body["components"],
        environment=body["environment"],
        inputs=body["facts"].get("inputs", {}),
        created_at=to_time(created_at),
        seconds=seconds,
    )


def champion_text(champion: Champion) -> str:
    """Write a champion."""
    return dump(Champion, champion)


def champion_of(text: str) -> Champion:
    """Read a champion."""
    return load(Champion, text)


def assignment_of(row: Row) -> DeviceAssignment:
    """Read (body, published)."""
    body, published = row
    return DeviceAssignment(Assignment.from_bytes(body.encode()), published=bool(published))


def controls_of(text: str) -> Controls:
    """Read controls."""
    return load(Controls, text)


def conditions_text(conditions: Sequence[Condition]) -> str:
    """Write a resource's conditions."""
    return dump(tuple[Condition, ...], tuple(conditions))


def conditions_of(bodies: Sequence[str]) -> list[tuple[Condition, ...]]:
    """Read the conditions of resources, all at once."""
    return load(list[tuple[Condition, ...]], "[" + ",".join(bodies) + "]")


# ── rollouts ──────────────────────────────────────────────────────────────────────────────────────────────────


class EncodedRollout:
    """A rollout as it is stored: summary, state without devices, releases by key, and a body for each device.

    A body is the JSON object of the fields that differ from their defaults, so a field added later needs no new table.
    """

    def __init__(self, state: RolloutState) -> None:
        self._keys: dict[int, str] = {}
        self._releases: dict[str, Any] = {}
        self.devices: dict[str, str] = {device: self._body(progress) for device, progress in state.devices.items()}
        self.summary = dump(RolloutSummary, summarize(state))
        self.state = dump(RolloutState, replace(state, devices={}))
        self.releases = to_json(self._releases)

    def _body(self, progress: DeviceProgress) -> str:
        body = {}
        for name, default in _DEFAULTS.items():
            value = getattr(progress, name)
            if value != default:
                body[name] = self._key(value) if name in _RELEASES else value
        return pydantic_json(body).decode()

    def _key(self, release: Release) -> str:
        """Name a release by its content. Devices share few release objects: known ones are found by identity."""
        key = self._keys.get(id(release))
        if key is None:
            body = dump(Release, release)
            key = hashlib.sha256(body.encode()).hexdigest()[:24]
            self._keys[id(release)] = key
            self._releases[key] = from_json(body)
        return key


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(DeviceProgress)}
_HINTS = get_type_hints(DeviceProgress)
_RELEASES = frozenset(name for name, hint in _HINTS.items() if Release in (hint, *get_args(hint)))
_TIMES = frozenset(name for name, hint in _HINTS.items() if datetime in (hint, *get_args(hint)))


def rollout_of(state: str, releases: str, devices: Sequence[tuple[str, str]]) -> RolloutState:
    """Read a rollout from what EncodedRollout holds."""
    known = {key: _adapter(Release).validate_python(body) for key, body in from_json(releases).items()}
    states = {state.value: state for state in DeviceState}
    times: dict[str, datetime] = {}
    bodies = from_json("[" + ",".join([body for _, body in devices]) + "]")
    for body in bodies:
        for name in body:
            if name in _TIMES:
                text = body[name]
                if text not in times:
                    times[text] = datetime.fromisoformat(text)
                body[name] = times[text]
            elif name in _RELEASES:
                body[name] = known[body[name]]
            elif name == "state":
                body[name] = states[body[name]]
    progress = {device: DeviceProgress(**body) for (device, _), body in zip(devices, bodies, strict=True)}
    return replace(load(RolloutState, state), devices=progress)


# ── journal and history ───────────────────────────────────────────────────────────────────────────────────────


def intent_of(row: Row) -> Intent:
    """Read (name, action, address, detail, at)."""
    name, action, address, detail, at = row
    return Intent(name, action, address, from_json(detail), datetime.fromisoformat(at))


def event_of(row: Row) -> Event:
    """Read (at, reason, address, message, data, revision)."""
    at, reason, address, message, data, revision = row
    return Event(datetime.fromisoformat(at), reason, address, message, from_json(data), revision)


def address_of(text: str) -> Address:
    """Read an address."""
    return parse_address(text)
