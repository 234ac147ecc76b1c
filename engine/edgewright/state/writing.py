"""The statements of the write side. ``store`` calls them inside a transaction that has checked the lease.

Each method returns whether it changed anything; a transaction that changed nothing is rolled back, so that the
store's version stays.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Table, bindparam, delete, func, insert, select, update

from edgewright.core.address import Address
from edgewright.core.artifact import Artifact
from edgewright.core.fleet.presence import is_doubtful, parse_report
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls, RolloutState
from edgewright.core.status.conditions import Condition
from edgewright.errors import StateError
from edgewright.ports import Event, Intent
from edgewright.state import encoding, schema
from edgewright.state.encoding import certain_text, to_json
from edgewright.state.errors import decoding
from edgewright.state.rows import Excluded, Rows, make_control
from edgewright_wire.messages import Assignment, Report

CHUNK = 1000
"""Names in one IN list; both databases bound them."""
BATCH = 1000
"""Rows of history that one transaction deletes, so that others need not wait long."""


class Statements(Rows):
    """The write side inside one transaction."""

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
        self.upsert(schema.artifacts, [row])
        self._remove(schema.failures, [artifact.fingerprint])
        return True

    def forget_artifacts(self, fingerprints: Iterable[str]) -> bool:
        """Remove artifacts."""
        self._share()
        return self._remove(schema.artifacts, fingerprints)

    def record_failure(self, fingerprint: str, message: str) -> bool:
        """Record that a step failed for good."""
        self._share()
        return self.upsert(schema.failures, [{"fingerprint": fingerprint, "message": message}])

    def set_champion(self, model: str, champion: Champion) -> bool:
        """Set the champion of a model."""
        return self.upsert(schema.champions, [{"model": model, "body": encoding.champion_text(champion)}])

    def save_rollout(self, address: Address, state: RolloutState) -> bool:
        """Store a rollout; of its devices only the rows that differ are written."""
        encoded = encoding.EncodedRollout(state)
        changed = self.upsert(
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
        self.upsert(table, fresh)
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
        return self.upsert(table, rows)

    def mark_published(self, versions: Mapping[str, int]) -> bool:
        """Confirm that the assignments of these versions are published."""
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

    def record_reports(
        self, reports: Sequence[Report], now: datetime | None = None, table: Table = schema.reports
    ) -> bool:
        """Store each device's newest report: a higher sequence, or one sent later by a device that lost its count.

        With ``now``, a report whose own time is too far from it keeps no lower sequence out.
        """
        if now is not None:
            self._doubt(table, {report.device: report.sequence for report in reports}, now)
        rows = [
            {
                "device": report.device,
                "sequence": report.sequence,
                "sent_at": certain_text(report.sent_at),
                "body": report.model_dump_json(by_alias=True, exclude_none=True),
            }
            for report in reports
        ]
        return self.upsert(table, rows, _newer_report)

    def _doubt(self, table: Table, sequences: Mapping[str, int], now: datetime) -> None:
        """Put the stored reports behind these that are newer by their sequence, and whose time cannot be believed."""
        doubtful = []
        for few in _chunks(sorted(sequences)):
            listed = select(table.c.device, table.c.sequence).where(self._mine(table), table.c.device.in_(few))
            higher = [row.device for row in self._connection.execute(listed) if row.sequence > sequences[row.device]]
            bodies = select(table.c.device, table.c.body).where(self._mine(table), table.c.device.in_(higher))
            for device, body in self._connection.execute(bodies) if higher else ():
                with decoding("a report"):
                    doubtful += [{"d": device}] if is_doubtful(parse_report(body), now) else []
        behind = update(table).where(self._mine(table), table.c.device == bindparam("d")).values(sequence=0)
        self._changes(behind, doubtful)

    def take_inbox(self, devices: Iterable[str], now: datetime | None = None) -> bool:
        """Move reports from the inbox to ``reports``, by the rule of ``record_reports``."""
        inbox, reports = schema.inbox, schema.reports
        names = [column.name for column in reports.columns]
        found = False
        for few in _chunks(sorted(set(devices))):
            mine = self._mine(inbox) & inbox.c.device.in_(few)
            # Locked in the order in which the intake writes them; what comes in meanwhile waits, and stays.
            taken = self._connection.scalars(
                select(inbox.c.device).where(mine).order_by(inbox.c.device).with_for_update()
            )
            if chosen := taken.all():
                if now is not None:
                    arrived = select(inbox.c.device, inbox.c.sequence).where(
                        self._mine(inbox), inbox.c.device.in_(chosen)
                    )
                    self._doubt(reports, {row.device: row.sequence for row in self._connection.execute(arrived)}, now)
                rows = self._mine(inbox) & inbox.c.device.in_(chosen)
                self.insert_selected(reports, select(*(inbox.c[name] for name in names)).where(rows), _newer_report)
                self._connection.execute(delete(inbox).where(rows))
                found = True
        return found

    def set_managed(self, resources: Mapping[Address, bool]) -> bool:
        """Replace the resources under management."""
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
        return self.upsert(table, [row], _closed)

    def finish(self, name: str, outcome: str) -> bool:
        """Close an intent."""
        table = schema.intents
        closing = update(table).where(self._mine(table), table.c.name == name, table.c.outcome.is_(None))
        return self._connection.execute(closing.values(outcome=outcome)).rowcount > 0

    def use_plan(self, plan_id: str, at: datetime) -> bool:
        """Mark a plan used, and return whether it was unused."""
        row = {"plan_id": plan_id, "used_at": certain_text(at)}
        return self.upsert(schema.used_plans, [row], None, replace=False)

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
        """Store the revision applied last."""
        return self._note(schema.control.c.last_revision, revision)

    def accept_revision(self, revision: str) -> bool:
        """Store the accepted revision."""
        return self._note(schema.control.c.accepted_revision, revision)

    def set_notified(self, receiver: str, cursor: int) -> bool:
        """Store the number of the last event a receiver was notified of."""
        return self.upsert(schema.notified, [{"receiver": receiver, "cursor": cursor}])

    def signal(self, name: str) -> bool:
        """Send a signal."""
        table = schema.signals
        again = update(table).where(self._mine(table), table.c.name == name).values(given=table.c.given + 1)
        return self._connection.execute(again).rowcount > 0 or self.upsert(table, [{"name": name, "given": 1}])

    def enroll(self, devices: Mapping[str, Mapping[str, str]]) -> bool:
        """Add devices, or replace the labels of known ones."""
        rows = [
            {"device": device, "labels": to_json(dict(sorted(labels.items())))} for device, labels in devices.items()
        ]
        return self.upsert(schema.enrolled, rows)

    def unenroll(self, devices: Iterable[str]) -> bool:
        """Remove devices."""
        return self._remove(schema.enrolled, devices)

    def request_controls(self, address: Address, controls: Controls) -> bool:
        """Request controls of a rollout."""
        return self.upsert(schema.controls, [{"address": str(address), "body": encoding.dump(Controls, controls)}])

    def take_controls(self, taken: Mapping[Address, Controls]) -> bool:
        """Remove requests that are still what was taken."""
        table = schema.controls
        values = [{"a": str(address), "b": encoding.dump(Controls, controls)} for address, controls in taken.items()]
        drop = delete(table).where(self._mine(table), table.c.address == bindparam("a"), table.c.body == bindparam("b"))
        return self._changes(drop, values)

    def prune_events(self, keep: int) -> int:
        """Delete a batch of old events of which all receivers were notified; returns how many."""
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
        """Delete a batch of closed intents and of used plans that are older than history; returns how many."""
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

    def _share(self) -> None:
        """Count a write to the shared tables before it is made; writers of other environments then wait."""
        self._connection.execute(update(schema.shared).values(version=schema.shared.c.version + 1))

    def _note(self, column: ColumnElement[str], value: str) -> bool:
        table = schema.control
        note = update(table).where(self._mine(table), column.is_distinct_from(value)).values({column: value})
        return self._connection.execute(note).rowcount > 0


def _newer_report(table: Table, new: Excluded) -> ColumnElement[bool]:
    """Compare reports: newer is a higher sequence, or a lower one sent later by a device that lost its count."""
    lower = (new["sequence"] < table.c.sequence) & (new["sent_at"] > table.c.sent_at)
    newer: ColumnElement[bool] = (new["sequence"] > table.c.sequence) | lower
    return newer


def _closed(table: Table, _new: Excluded) -> ColumnElement[bool]:
    """Match intents that have an outcome."""
    closed: ColumnElement[bool] = table.c.outcome.is_not(None)
    return closed


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
