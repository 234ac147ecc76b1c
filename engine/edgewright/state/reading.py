"""The read side of the store, whichever database answers; ``store`` says which."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.fleet.presence import parse_report
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState, RolloutSummary
from edgewright.core.status.conditions import Condition
from edgewright.ports import DeviceAssignment, Event, Intent
from edgewright.state import encoding
from edgewright.state.encoding import Decoded, Row
from edgewright.state.errors import decoding
from edgewright.state.queries import NONE, Parameters, Queries
from edgewright_wire.messages import Assignment, Report

FEW = 500
"""Up to so many devices are asked for by name; for more, all rows are read and chosen from."""

_ARTIFACTS = f"SELECT {', '.join(encoding.ARTIFACT_COLUMNS)} FROM artifacts"  # noqa: S608 - constants


class StoredState:
    """Implements ports.StateReader over SELECTs."""

    def __init__(self, queries: Callable[[], Queries], environment: str) -> None:
        self._queries = queries
        self.environment = environment
        """Whose state is read; '' where there is only one."""

    def artifacts(self, fingerprints: Iterable[str] | None = None) -> Mapping[str, Artifact]:
        """Artifacts by fingerprint, oldest first; each is decoded when it is first looked at."""
        if fingerprints is None:
            found = self._rows(_ARTIFACTS)
        else:
            wanted = sorted(set(fingerprints))
            found = []
            for few in (wanted[start : start + FEW] for start in range(0, len(wanted), FEW)):
                names = {f"f{index}": fingerprint for index, fingerprint in enumerate(few)}
                found += self._rows(f"{_ARTIFACTS} WHERE fingerprint IN ({', '.join(':' + n for n in names)})", names)
        # Sorted here: databases carry the large bodies through their sort.
        return Decoded({row[0]: row for row in sorted(found, key=_age)}, encoding.artifact_of)

    def package(self, digest: str) -> Artifact | None:
        """The package with this digest; the oldest, where several steps made the same."""
        asked = {"action": Action.PACKAGE.value, "digest": digest}
        found = self._rows(f"{_ARTIFACTS} WHERE action = :action AND digest = :digest", asked)
        with decoding("an artifact"):
            return encoding.artifact_of(min(found, key=_age)) if found else None

    def champions(self) -> Mapping[str, Champion]:
        """By model name."""
        found = self._mine("SELECT model, body FROM champions WHERE environment = :environment ORDER BY model")
        with decoding("a champion"):
            return {model: encoding.champion_of(body) for model, body in found}

    def rollout_summaries(self) -> Mapping[Address, RolloutSummary]:
        """All rollouts ever started; their devices are not read."""
        found = self._mine("SELECT address, summary FROM rollouts WHERE environment = :environment ORDER BY address")
        with decoding("a rollout"):
            return {encoding.address_of(address): encoding.load(RolloutSummary, summary) for address, summary in found}

    def rollout(self, address: Address) -> RolloutState | None:
        """One rollout whole, its devices in name order."""
        # One statement, so that state and devices are of the same transaction.
        found = self._mine(
            "SELECT r.state, r.releases, d.device, d.body FROM rollouts r "
            "LEFT JOIN rollout_devices d ON d.environment = r.environment AND d.address = r.address "
            "WHERE r.environment = :environment AND r.address = :address ORDER BY d.device",
            address=str(address),
        )
        if not found:
            return None
        state, releases = found[0][:2]
        with decoding(str(address)):
            return encoding.rollout_of(state, releases, [(device, body) for _, _, device, body in found if device])

    def assignments(self, devices: Iterable[str] | None = None) -> Mapping[str, DeviceAssignment]:
        """Return the assignments of devices; of all devices by default."""
        found = self._of_devices("assignments", "body, published", devices)
        return Decoded({row[0]: row[1:] for row in found}, encoding.assignment_of)

    def unpublished(self) -> Sequence[Assignment]:
        """Assignments that are not confirmed to be out, in the devices' order."""
        found = self._mine(
            "SELECT body, published FROM assignments WHERE environment = :environment AND published = 0 ORDER BY device"
        )
        with decoding("an assignment"):
            return [encoding.assignment_of(row).assignment for row in found]

    def reports(self, devices: Iterable[str] | None = None) -> Mapping[str, Report]:
        """The newest report of each device that ever reported."""
        found = self._of_devices("reports", "body", devices)
        return Decoded({row[0]: row[1] for row in found}, _report_of)

    def managed(self) -> Mapping[Address, bool]:
        """Resources under management; True where pruning is disabled."""
        return {
            encoding.address_of(address): bool(disabled)
            for address, disabled in self._mine(
                "SELECT address, prune_disabled FROM inventory WHERE environment = :environment ORDER BY address"
            )
        }

    def failures(self) -> Mapping[str, str]:
        """Messages of steps that failed for good, by fingerprint."""
        return dict(_pairs(self._rows("SELECT fingerprint, message FROM failures ORDER BY fingerprint")))

    def open_intents(self) -> Sequence[Intent]:
        """Intents without an outcome, oldest first."""
        return [
            encoding.intent_of(row)
            for row in self._mine(
                "SELECT name, action, address, detail, at FROM intents "
                "WHERE environment = :environment AND outcome IS NULL ORDER BY at, name"
            )
        ]

    def plan_used(self, plan_id: str) -> datetime | None:
        """Return the time at which a plan was used, if it was."""
        found = self._mine(
            "SELECT used_at FROM used_plans WHERE environment = :environment AND plan_id = :plan_id", plan_id=plan_id
        )
        return datetime.fromisoformat(found[0][0]) if found else None

    def events(self, *, limit: int = 100, address: str | None = None) -> Sequence[Event]:
        """Newest first."""
        columns = "SELECT at, reason, address, message, data, revision FROM events WHERE environment = :environment"
        if address is None:
            found = self._mine(f"{columns} ORDER BY id DESC LIMIT :limit", limit=limit)
        else:
            found = self._mine(
                f"{columns} AND address = :address ORDER BY id DESC LIMIT :limit", limit=limit, address=address
            )
        return [encoding.event_of(row) for row in found]

    def last_revision(self) -> str | None:
        """The revision applied last."""
        found = self._mine("SELECT last_revision FROM control WHERE environment = :environment")
        return found[0][0] if found else None

    def accepted_revision(self) -> str | None:
        """The last revision whose signatures and specs were found right."""
        found = self._mine("SELECT accepted_revision FROM control WHERE environment = :environment")
        return found[0][0] if found else None

    def enrolled(self) -> Mapping[str, Mapping[str, str]]:
        """Labels of enrolled devices, by id."""
        return {
            device: from_json(labels)
            for device, labels in _pairs(
                self._mine("SELECT device, labels FROM enrolled WHERE environment = :environment ORDER BY device")
            )
        }

    def requested_controls(self) -> Mapping[Address, Controls]:
        """Return the controls that people requested and the lease's holder has not taken up yet."""
        return {
            encoding.address_of(address): encoding.controls_of(body)
            for address, body in _pairs(
                self._mine("SELECT address, body FROM controls WHERE environment = :environment ORDER BY address")
            )
        }

    def durations(self) -> Mapping[tuple[Action, str], timedelta]:
        """Return the duration of each action's last run, by action and address."""
        found = self._rows("SELECT action, address, seconds FROM artifacts ORDER BY created_at, fingerprint")
        last = {(action, address): seconds for action, address, seconds in found}
        with decoding("an artifact"):
            return {(Action(action), addr): timedelta(seconds=seconds) for (action, addr), seconds in last.items()}

    def version(self) -> str:
        """Return the version of the environment's and the shared content: it changes with every write to them."""
        found = self._mine(
            "SELECT (SELECT version FROM control WHERE environment = :environment), (SELECT version FROM shared)"
        )
        own, shared = found[0] if found else (0, 0)
        return f"{own or 0}-{shared or 0}"

    def report_sequences(self) -> Mapping[str, int]:
        """Return the sequence of each device's newest report."""
        return dict(_pairs(self._mine("SELECT device, sequence FROM reports WHERE environment = :environment")))

    def conditions(self) -> Mapping[Address, Sequence[Condition]]:
        """Return the stored conditions of each resource."""
        found = self._mine("SELECT address, body FROM conditions WHERE environment = :environment ORDER BY address")
        with decoding("a condition"):
            return dict(
                zip(
                    [encoding.address_of(address) for address, _ in found],
                    encoding.conditions_of([body for _, body in found]),
                    strict=True,
                )
            )

    def events_after(self, cursor: int, *, limit: int = 100) -> Sequence[tuple[int, Event]]:
        """List events with a higher number than ``cursor``, each with its number, oldest first."""
        found = self._mine(
            "SELECT id, at, reason, address, message, data, revision FROM events "
            "WHERE environment = :environment AND id > :cursor ORDER BY id LIMIT :limit",
            cursor=cursor,
            limit=limit,
        )
        return [(row[0], encoding.event_of(row[1:])) for row in found]

    def last_event(self) -> int:
        """Return the number of the newest event, also when history has been pruned; 0 before the first."""
        found = self._mine("SELECT last_event FROM control WHERE environment = :environment")
        return int(found[0][0]) if found else 0

    def notified(self) -> Mapping[str, int]:
        """Return the number of the last event each receiver was notified of, by the receiver's name."""
        return dict(
            _pairs(
                self._mine("SELECT receiver, cursor FROM notified WHERE environment = :environment ORDER BY receiver")
            )
        )

    def signals(self) -> Mapping[str, int]:
        """Return the number of times each signal was sent, by name."""
        return dict(
            _pairs(self._mine("SELECT name, given FROM signals WHERE environment = :environment ORDER BY name"))
        )

    def environments(self) -> Sequence[str]:
        """List the environments that ever wrote, in name order."""
        return [name for (name,) in self._rows("SELECT environment FROM control ORDER BY environment")]

    # ── for what shares the store's connections ───────────────────────────────────────────────────────────────────

    def rows(self, sql: str, **parameters: Any) -> Sequence[Row]:
        """Fetch this environment's rows: of a statement with ``:environment`` in it. Called by ``twins``."""
        return self._mine(sql, **parameters)

    def of_devices(self, table: str, columns: str, devices: Iterable[str] | None) -> Iterable[Row]:
        """Fetch ``device`` and these columns of devices. Called by ``twins``."""
        return self._of_devices(table, columns, devices)

    def _rows(self, sql: str, parameters: Parameters = NONE) -> Sequence[Row]:
        return self._queries().rows(sql, parameters)

    def _mine(self, sql: str, **parameters: Any) -> Sequence[Row]:
        """Fetch this environment's rows."""
        return self._rows(sql, {"environment": self.environment, **parameters})

    def _of_devices(self, table: str, columns: str, devices: Iterable[str] | None) -> Iterable[Row]:
        select = f"SELECT device, {columns} FROM {table} WHERE environment = :environment"  # noqa: S608 - called with constants only
        if devices is None:
            return self._mine(f"{select} ORDER BY device")
        wanted = sorted(set(devices))
        if not wanted:
            return ()
        if len(wanted) > FEW:
            chosen = set(wanted)
            return [row for row in self._mine(f"{select} ORDER BY device") if row[0] in chosen]
        names = {f"d{index}": device for index, device in enumerate(wanted)}
        return self._mine(f"{select} AND device IN ({', '.join(':' + n for n in names)}) ORDER BY device", **names)


def _pairs(rows: Iterable[Row]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in rows)


def _age(row: Row) -> tuple[str, str]:
    return (row[encoding.ARTIFACT_COLUMNS.index("created_at")] or "", row[0])


def _report_of(body: str) -> Report:
    return parse_report(body)
