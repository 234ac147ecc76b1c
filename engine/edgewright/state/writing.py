"""The statements of the write side. ``store`` calls them inside a transaction that has checked the lease.

Each method returns whether it changed anything; a transaction that changed nothing is rolled back, so that the
store's version stays.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.observed import Champion
from edgewright.core.rollout_state import Controls, RolloutState
from edgewright.errors import StateError
from edgewright.ports import Event, Intent
from edgewright.state import encoding, schema
from edgewright.state.encoding import certain_text, to_json
from edgewright_wire.messages import Assignment, Report

Excluded = ReadOnlyColumnCollection[str, Any]
CHUNK = 1000
"""Names in one IN list; both databases bound them."""


class Statements:
    """The write side inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def advance(self, fence: int | None) -> bool:
        """Count a write, and keep other writers out until the transaction ends; False when the fence has moved on."""
        table = schema.control
        count = update(table).where(table.c.id == 1).values(version=table.c.version + 1)
        if fence is not None:
            count = count.where(table.c.fence == fence)
        return self._connection.execute(count).rowcount > 0

    def undo(self) -> None:
        """Roll the transaction back: it has changed nothing but the count."""
        transaction = self._connection.get_transaction()
        assert transaction is not None
        transaction.rollback()

    def record_artifact(self, artifact: Artifact) -> bool:
        """Add or replace by fingerprint; clear a failure recorded for it."""
        row = dict(zip(encoding.ARTIFACT_COLUMNS, encoding.artifact_row(artifact), strict=True))
        self._upsert(schema.artifacts, [row])
        self._remove(schema.failures, [artifact.fingerprint])
        return True

    def forget_artifacts(self, fingerprints: Iterable[str]) -> bool:
        """Remove artifacts."""
        return self._remove(schema.artifacts, fingerprints)

    def record_failure(self, fingerprint: str, message: str) -> bool:
        """Remember that a step failed for good."""
        return self._upsert(schema.failures, [{"fingerprint": fingerprint, "message": message}])

    def set_champion(self, model: str, champion: Champion) -> bool:
        """Name the model in production."""
        return self._upsert(schema.champions, [{"model": model, "body": encoding.champion_text(champion)}])

    def save_rollout(self, address: Address, state: RolloutState) -> bool:
        """Store a rollout; of its devices only the rows that differ are written."""
        encoded = encoding.EncodedRollout(state)
        changed = self._upsert(
            schema.rollouts,
            [
                {
                    "address": str(address),
                    "summary": encoded.summary,
                    "state": encoded.state,
                    "releases": encoded.releases,
                }
            ],
        )
        table = schema.rollout_devices
        mine = table.c.address == str(address)
        stored = {row.device: row.body for row in self._connection.execute(select(table).where(mine))}
        fresh = [
            {"address": str(address), "device": device, "body": body}
            for device, body in encoded.devices.items()
            if stored.get(device) != body
        ]
        self._upsert(table, fresh)
        gone = [{"gone": device} for device in stored.keys() - encoded.devices.keys()]
        if gone:
            self._connection.execute(delete(table).where(mine, table.c.device == bindparam("gone")), gone)
        return changed or bool(fresh) or bool(gone)

    def add_assignments(self, assignments: Sequence[Assignment]) -> bool:
        """Store assignments, unpublished. One that is stored already, of the same version and content, stays as it is.

        Raises:
            StateError: A version is not above the device's last one.
        """
        table = schema.assignments
        stored: dict[str, tuple[int, str]] = {}
        for devices in _chunks([a.device for a in assignments]):
            query = select(table.c.device, table.c.version, table.c.body).where(table.c.device.in_(devices))
            stored |= {device: (version, body) for device, version, body in self._connection.execute(query)}
        rows = []
        for assignment in assignments:
            body = assignment.to_bytes().decode()
            version, known = stored.get(assignment.device, (0, ""))
            if (assignment.version, body) == (version, known):
                continue
            if assignment.version <= version:
                raise StateError(
                    f"device {assignment.device} was assigned version {version} already; version {assignment.version} "
                    "would not be taken",
                    hint="another process has assigned it since the state was read; run apply again",
                )
            stored[assignment.device] = (assignment.version, body)
            rows.append({"device": assignment.device, "version": assignment.version, "published": 0, "body": body})
        return self._upsert(table, rows)

    def mark_published(self, versions: Mapping[str, int]) -> bool:
        """Confirm that the assignments of these versions are out."""
        table = schema.assignments
        confirm = (
            update(table)
            .where(table.c.device == bindparam("d"), table.c.version == bindparam("v"), table.c.published == 0)
            .values(published=1)
        )
        values = [{"d": device, "v": version} for device, version in versions.items()]
        return self._changes(confirm, values)

    def record_reports(self, reports: Sequence[Report]) -> bool:
        """Keep each device's newest report: a higher sequence, or one sent later by a device that lost its count."""
        table = schema.reports
        rows = [
            {
                "device": report.device,
                "sequence": report.sequence,
                "sent_at": certain_text(report.sent_at),
                "body": report.to_bytes().decode(),
            }
            for report in reports
        ]
        return self._upsert(
            table,
            rows,
            lambda new: (
                (new["sequence"] > table.c.sequence)
                | ((new["sequence"] < table.c.sequence) & (new["sent_at"] > table.c.sent_at))
            ),
        )

    def set_inventory(self, resources: Mapping[Address, bool]) -> bool:
        """Replace the inventory."""
        table = schema.inventory
        wanted = {str(address): int(disabled) for address, disabled in resources.items()}
        stored = {row.address: row.prune_disabled for row in self._connection.execute(select(table))}
        rows = [{"address": a, "prune_disabled": d} for a, d in wanted.items() if stored.get(a) != d]
        changed = self._upsert(table, rows)
        return self._remove(table, stored.keys() - wanted.keys()) or changed

    def begin(self, intent: Intent) -> bool:
        """Journal an intent. An open one stays as it is; a closed one is opened again."""
        table = schema.intents
        row = {
            "name": intent.name,
            "action": intent.action,
            "address": intent.address,
            "detail": to_json(dict(intent.detail)),
            "at": certain_text(intent.at),
            "outcome": None,
        }
        return self._upsert(table, [row], lambda _: table.c.outcome.is_not(None))

    def finish(self, name: str, outcome: str) -> bool:
        """Close an intent."""
        table = schema.intents
        closing = update(table).where(table.c.name == name, table.c.outcome.is_(None)).values(outcome=outcome)
        return self._connection.execute(closing).rowcount > 0

    def use_plan(self, plan_id: str, at: datetime) -> bool:
        """Mark a plan used; whether it was unused."""
        row = {"plan_id": plan_id, "used_at": certain_text(at)}
        return self._upsert(schema.used_plans, [row], None, replace=False)

    def add_events(self, events: Sequence[Event]) -> bool:
        """Append to history."""
        rows = [
            {
                "at": certain_text(event.at),
                "reason": event.reason,
                "address": event.address,
                "message": event.message,
                "data": to_json(dict(event.data)),
                "revision": event.revision,
            }
            for event in events
        ]
        if rows:
            self._connection.execute(insert(schema.events), rows)
        return bool(rows)

    def set_last_revision(self, revision: str) -> bool:
        """Note the revision applied."""
        table = schema.control
        note = update(table).where(table.c.last_revision.is_distinct_from(revision)).values(last_revision=revision)
        return self._connection.execute(note).rowcount > 0

    def enroll(self, devices: Mapping[str, Mapping[str, str]]) -> bool:
        """Add devices, or replace the labels of known ones."""
        rows = [
            {"device": device, "labels": to_json(dict(sorted(labels.items())))} for device, labels in devices.items()
        ]
        return self._upsert(schema.enrolled, rows)

    def unenroll(self, devices: Iterable[str]) -> bool:
        """Remove devices."""
        return self._remove(schema.enrolled, devices)

    def request_controls(self, address: Address, controls: Controls) -> bool:
        """Ask something of a rollout."""
        return self._upsert(schema.controls, [{"address": str(address), "body": encoding.dump(Controls, controls)}])

    def take_controls(self, taken: Mapping[Address, Controls]) -> bool:
        """Drop requests that are still what was taken."""
        table = schema.controls
        values = [{"a": str(address), "b": encoding.dump(Controls, controls)} for address, controls in taken.items()]
        drop = delete(table).where(table.c.address == bindparam("a"), table.c.body == bindparam("b"))
        return self._changes(drop, values)

    def _upsert(
        self,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        only: Callable[[Excluded], ColumnElement[bool]] | None = None,
        *,
        replace: bool = True,
    ) -> bool:
        """Insert rows, or replace those of the same key where ``only`` holds or, without it, if something differs."""
        if not rows:
            return False
        keys = [column.name for column in table.primary_key]
        others = [column.name for column in table.columns if column.name not in keys and column.name in rows[0]]
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(table)
        if replace:
            new = statement.excluded
            differs = table.c[others[0]].is_distinct_from(new[others[0]])
            for name in others[1:]:
                differs |= table.c[name].is_distinct_from(new[name])
            statement = statement.on_conflict_do_update(
                index_elements=keys,
                set_={name: new[name] for name in others},
                where=differs if only is None else only(new),
            )
        else:
            statement = statement.on_conflict_do_nothing(index_elements=keys)
        return self._changes(statement, rows)

    def _remove(self, table: Table, keys: Collection[str] | Iterable[str]) -> bool:
        """Delete rows by their only key."""
        (key,) = table.primary_key
        values = [{"k": value} for value in keys]
        return (
            bool(values) and self._connection.execute(delete(table).where(key == bindparam("k")), values).rowcount > 0
        )

    def _changes(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Run a statement for each row; whether any was changed. A driver that cannot count many counts as changed."""
        if not rows:
            return False
        parameters = rows[0] if len(rows) == 1 else rows
        options = {"preserve_rowcount": True}
        return self._connection.execute(statement, parameters, execution_options=options).rowcount != 0


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
