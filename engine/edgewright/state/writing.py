"""The statements of the write side. ``store`` calls them inside a transaction that has checked the lease.

Each method returns whether it changed anything; a transaction that changed nothing is rolled back, so that the
store's version stays.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState
from edgewright.core.status.conditions import Condition
from edgewright.errors import StateError
from edgewright.ports import Event, Intent
from edgewright.state import encoding, schema
from edgewright.state.encoding import certain_text, to_json
from edgewright_wire.messages import Assignment, Report

Excluded = ReadOnlyColumnCollection[str, Any]
Only = Callable[[Table, Excluded], ColumnElement[bool]]
"""Which rows that are there are replaced, given the new ones."""
CHUNK = 1000
"""Names in one IN list; both databases bound them."""
BATCH = 1000
"""Rows of history that one transaction forgets, so that others need not wait long."""


class Statements:
    """The write side inside one transaction."""

    def __init__(self, connection: Connection, environment: str) -> None:
        self._connection = connection
        self._environment = environment

    def advance(self, fence: int | None) -> bool:
        """Count a write, and keep other writers of the environment out until the transaction ends.

        Returns:
            False when the fence has moved on.
        """
        table = schema.control
        count = update(table).where(self._mine(table)).values(version=table.c.version + 1)
        if fence is not None:
            return self._connection.execute(count.where(table.c.fence == fence)).rowcount > 0
        if self._connection.execute(count).rowcount == 0:
            make_control(self._connection, self._environment)
            self._connection.execute(count)
        return True

    def undo(self) -> None:
        """Roll the transaction back: it has changed nothing but the count."""
        transaction = self._connection.get_transaction()
        assert transaction is not None
        transaction.rollback()

    def record_artifact(self, artifact: Artifact) -> bool:
        """Add or replace by fingerprint; clear a failure recorded for it."""
        self._share()
        row = dict(zip(encoding.ARTIFACT_COLUMNS, encoding.artifact_row(artifact), strict=True))
        self._upsert(schema.artifacts, [row])
        self._remove(schema.failures, [artifact.fingerprint])
        return True

    def forget_artifacts(self, fingerprints: Iterable[str]) -> bool:
        """Remove artifacts."""
        self._share()
        return self._remove(schema.artifacts, fingerprints)

    def record_failure(self, fingerprint: str, message: str) -> bool:
        """Remember that a step failed for good."""
        self._share()
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
        mine = self._mine(table) & (table.c.address == str(address))
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
            known_rows = select(table.c.device, table.c.version, table.c.body)
            query = known_rows.where(self._mine(table), table.c.device.in_(devices))
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
            .where(
                self._mine(table),
                table.c.device == bindparam("d"),
                table.c.version == bindparam("v"),
                table.c.published == 0,
            )
            .values(published=1)
        )
        values = [{"d": device, "v": version} for device, version in versions.items()]
        return self._changes(confirm, values)

    def record_reports(self, reports: Sequence[Report], table: Table = schema.reports) -> bool:
        """Keep each device's newest report: a higher sequence, or one sent later by a device that lost its count."""
        rows = [
            {
                "device": report.device,
                "sequence": report.sequence,
                "sent_at": certain_text(report.sent_at),
                "body": report.model_dump_json(by_alias=True, exclude_none=True),
            }
            for report in reports
        ]
        return self._upsert(table, rows, _newer_report)

    def set_inventory(self, resources: Mapping[Address, bool]) -> bool:
        """Replace the inventory."""
        wanted = {str(address): int(disabled) for address, disabled in resources.items()}
        return self._replace(schema.inventory, "prune_disabled", wanted)

    def set_conditions(self, conditions: Mapping[Address, Sequence[Condition]]) -> bool:
        """Replace the conditions."""
        wanted = {str(address): encoding.conditions_text(found) for address, found in conditions.items() if found}
        return self._replace(schema.conditions, "body", wanted)

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
        return self._upsert(table, [row], _closed)

    def finish(self, name: str, outcome: str) -> bool:
        """Close an intent."""
        table = schema.intents
        closing = update(table).where(self._mine(table), table.c.name == name, table.c.outcome.is_(None))
        return self._connection.execute(closing.values(outcome=outcome)).rowcount > 0

    def use_plan(self, plan_id: str, at: datetime) -> bool:
        """Mark a plan used; whether it was unused."""
        row = {"plan_id": plan_id, "used_at": certain_text(at)}
        return self._upsert(schema.used_plans, [row], None, replace=False)

    def add_events(self, events: Sequence[Event]) -> bool:
        """Append to history."""
        if not events:
            return False
        table = schema.control
        counting = update(table).where(self._mine(table)).values(last_event=table.c.last_event + len(events))
        last = self._connection.execute(counting.returning(table.c.last_event)).scalar_one()
        rows = [
            {
                "environment": self._environment,
                "id": number,
                "at": certain_text(event.at),
                "reason": event.reason,
                "address": event.address,
                "message": event.message,
                "data": to_json(dict(event.data)),
                "revision": event.revision,
            }
            for number, event in enumerate(events, last - len(events) + 1)
        ]
        self._connection.execute(insert(schema.events), rows)
        return True

    def set_last_revision(self, revision: str) -> bool:
        """Note the revision applied."""
        return self._note(schema.control.c.last_revision, revision)

    def accept_revision(self, revision: str) -> bool:
        """Note that a revision is in force."""
        return self._note(schema.control.c.accepted_revision, revision)

    def set_notified(self, receiver: str, cursor: int) -> bool:
        """Note up to which event a receiver has been told."""
        return self._upsert(schema.notified, [{"receiver": receiver, "cursor": cursor}])

    def signal(self, name: str) -> bool:
        """Give a signal."""
        table = schema.signals
        again = update(table).where(self._mine(table), table.c.name == name).values(given=table.c.given + 1)
        return self._connection.execute(again).rowcount > 0 or self._upsert(table, [{"name": name, "given": 1}])

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
        drop = delete(table).where(self._mine(table), table.c.address == bindparam("a"), table.c.body == bindparam("b"))
        return self._changes(drop, values)

    def prune_events(self, keep: int) -> int:
        """Forget a batch of events that are neither among the newest nor untold to a receiver; gives how many."""
        events, notified, control = schema.events, schema.notified, schema.control
        newest = self._connection.scalars(select(control.c.last_event).where(self._mine(control))).one()
        told = self._connection.scalar(select(func.min(notified.c.cursor)).where(self._mine(notified)))
        last = newest - keep  # numbers have no gaps
        old = self._mine(events) & (events.c.id <= (last if told is None else min(last, told)))
        batch = select(events.c.id).where(old).order_by(events.c.id).limit(BATCH)
        gone = self._connection.scalars(batch).all()
        if gone:
            self._connection.execute(delete(events).where(self._mine(events), events.c.id <= gone[-1]))
        return len(gone)

    def prune_journal(self) -> int:
        """Forget a batch of closed intents and of used plans that are older than history; gives how many."""
        events, intents, plans = schema.events, schema.intents, schema.used_plans
        oldest = select(events.c.id, events.c.at).where(self._mine(events)).order_by(events.c.id).limit(1)
        first = self._connection.execute(oldest).one_or_none()
        if first is None or first.id == 1:  # nothing was ever forgotten
            return 0
        closed = (intents.c.at < first.at) & intents.c.outcome.is_not(None)
        return self._prune(intents, intents.c.name, closed) + self._prune(
            plans, plans.c.plan_id, plans.c.used_at < first.at
        )

    def _prune(self, table: Table, key: ColumnElement[str], old: ColumnElement[bool]) -> int:
        gone = self._connection.scalars(select(key).where(self._mine(table), old).limit(BATCH)).all()
        if gone:
            self._connection.execute(delete(table).where(self._mine(table), key.in_(gone)))
        return len(gone)

    def _mine(self, table: Table) -> ColumnElement[bool]:
        mine: ColumnElement[bool] = table.c.environment == self._environment
        return mine

    def _share(self) -> None:
        """Count a write to the shared tables before it is made; writers of other environments then wait."""
        self._connection.execute(update(schema.shared).values(version=schema.shared.c.version + 1))

    def _note(self, column: ColumnElement[str], value: str) -> bool:
        table = schema.control
        note = update(table).where(self._mine(table), column.is_distinct_from(value)).values({column: value})
        return self._connection.execute(note).rowcount > 0

    def _replace(self, table: Table, column: str, wanted: Mapping[str, Any]) -> bool:
        """Replace all rows, which are of addresses; only those that differ are written."""
        found = self._connection.execute(select(table.c.address, table.c[column]).where(self._mine(table)))
        stored: dict[str, Any] = {row[0]: row[1] for row in found}
        rows = [
            {"address": address, column: value} for address, value in wanted.items() if stored.get(address) != value
        ]
        changed = self._upsert(table, rows)
        return self._remove(table, stored.keys() - wanted.keys()) or changed

    def upsert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Insert rows, or replace those of the same key that differ. Called by ``twins``."""
        return self._upsert(table, rows)

    def _upsert(
        self,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        only: Only | None = None,
        *,
        replace: bool = True,
    ) -> bool:
        """Insert rows, or replace those of the same key where ``only`` holds or, without it, if something differs."""
        if not rows:
            return False
        if "environment" in table.c:
            rows = [{"environment": self._environment, **row} for row in rows]
        statement = _upserting(table, tuple(rows[0]), self._connection.dialect.name, only, replace)
        return self._changes(statement, rows)

    def _remove(self, table: Table, keys: Collection[str] | Iterable[str]) -> bool:
        """Delete rows by their only key beside the environment."""
        (key,) = (column for column in table.primary_key if column.name != "environment")
        values = [{"k": value} for value in keys]
        statement = delete(table).where(key == bindparam("k"))
        if "environment" in table.c:
            statement = statement.where(self._mine(table))
        return bool(values) and self._connection.execute(statement, values).rowcount > 0

    def _changes(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Run a statement for each row; whether any was changed. A driver that cannot count many counts as changed."""
        if not rows:
            return False
        parameters = rows[0] if len(rows) == 1 else rows
        options = {"preserve_rowcount": True}
        return self._connection.execute(statement, parameters, execution_options=options).rowcount != 0


@lru_cache(maxsize=100)
def _upserting(table: Table, names: Sequence[str], dialect_name: str, only: Only | None, replace: bool) -> Executable:
    """Build a statement for ``_upsert``, once: that takes longer than to run it."""
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.columns if column.name not in keys and column.name in names]
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    statement: postgresql.Insert | sqlite.Insert = dialect.insert(table)
    if not replace:
        return statement.on_conflict_do_nothing(index_elements=keys)
    new = statement.excluded
    differs = table.c[others[0]].is_distinct_from(new[others[0]])
    for name in others[1:]:
        differs |= table.c[name].is_distinct_from(new[name])
    return statement.on_conflict_do_update(
        index_elements=keys,
        set_={name: new[name] for name in others},
        where=differs if only is None else only(table, new),
    )


def _newer_report(table: Table, new: Excluded) -> ColumnElement[bool]:
    """A higher sequence; or a lower one that was sent later: the device lost its count."""
    lower = (new["sequence"] < table.c.sequence) & (new["sent_at"] > table.c.sent_at)
    newer: ColumnElement[bool] = (new["sequence"] > table.c.sequence) | lower
    return newer


def _closed(table: Table, _new: Excluded) -> ColumnElement[bool]:
    """An intent that has an outcome."""
    closed: ColumnElement[bool] = table.c.outcome.is_not(None)
    return closed


def lock_row(connection: Connection, name: str) -> None:
    """Let one transaction at a time work on what has this name; SQLite lets in one writer, whatever it works on."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    else:  # its drivers begin to write with the first statement that does
        table = schema.signals
        connection.execute(delete(table).where(table.c.environment.is_(None)))


def make_control(connection: Connection, environment: str) -> None:
    """Make an environment's row of control, unless it is there."""
    nobody = {"holder": "", "host": "", "machine": "", "pid": 0, "started": "", "since": "", "expires_at": ""}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = dialect.insert(schema.control).values(environment=environment, version=0, fence=0, **nobody)
    connection.execute(row.on_conflict_do_nothing(index_elements=["environment"]))


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
