"""Twins, identities and reports that came in by HTTP, in the store's database.

Implements ports.TwinStore, IdentityStore and ReportInbox; opened by ``wiring`` beside ``store.SqlState``, whose
connections it shares.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edgewright.core.fleet.presence import parse_report
from edgewright.core.fleet.twins import Twin
from edgewright.ports import Identity, IdentityStatus
from edgewright.state import encoding
from edgewright.state.encoding import Row, certain_text
from edgewright.state.errors import decoding
from edgewright.state.reading import FEW
from edgewright.state.store import SqlState
from edgewright_wire.messages import Report

if TYPE_CHECKING:  # SQLAlchemy takes longer to import than a whole plan may
    from sqlalchemy import Connection, Table

_IDENTITY = "system, device, identity_key, standing, asked_at, decided_at, labels, detail"


class SqlTwins:
    """Implements ports.TwinStore."""

    def __init__(self, state: SqlState) -> None:
        self._state = state

    def twin(self, device: str) -> Twin | None:
        """Find a device."""
        found = self._state.rows("SELECT body FROM twins WHERE environment = :environment AND device = :d", d=device)
        with decoding(f"device {device}"):
            return encoding.load(Twin, found[0][0]) if found else None

    def twins(self, system: str | None = None, *, since: Mapping[str, int] | None = None) -> Sequence[Twin]:
        """List twins in order of device."""
        chosen = " AND system = :system" if system is not None else ""
        asked = {"system": system} if system is not None else {}
        where = f"FROM twins WHERE environment = :environment{chosen}"
        if since is None:
            found = [row[0] for row in self._state.rows(f"SELECT body {where} ORDER BY device", **asked)]
        else:
            listed = self._state.rows(f"SELECT device, sequence {where} ORDER BY device", **asked)
            news = [device for device, sequence in listed if since.get(device, 0) != sequence]
            found = [row[1] for row in self._state.of_devices("twins", "body", news)]
        with decoding("a device"):
            return [encoding.load(Twin, body) for body in found]

    def systems(self) -> Sequence[str]:
        """List the update systems that devices were ever reached by."""
        found = self._state.rows("SELECT DISTINCT system FROM twins WHERE environment = :environment ORDER BY system")
        return [system for (system,) in found]

    def change(self, device: str, system: str, work: Callable[[Twin], Twin | None]) -> Twin | None:
        """Read, change and write one device as a whole."""
        with self._state.transaction() as connection:
            return self._change(connection, device, system, work)

    def change_all(self, devices: Sequence[str], system: str, work: Callable[[Twin], Twin | None]) -> None:
        """As ``change``, for many devices in one transaction."""
        if devices:
            with self._state.transaction() as connection:
                for device in sorted(set(devices)):  # in one order everywhere, so that no two wait for each other
                    self._change(connection, device, system, work)

    def _change(
        self, connection: "Connection", device: str, system: str, work: Callable[[Twin], Twin | None]
    ) -> Twin | None:
        from sqlalchemy import delete, select

        from edgewright.state.rows import lock_row
        from edgewright.state.schema import twins

        lock_row(connection, f"twin {self._state.environment} {device}")
        mine = (twins.c.environment == self._state.environment) & (twins.c.device == device)
        body = connection.execute(select(twins.c.body).where(mine)).scalar()
        with decoding(f"device {device}"):
            before = encoding.load(Twin, body) if body is not None else None
        if before is not None and before.system != system:
            # Its versions and sequences go on, so that nobody takes the new for the old.
            given = Twin(device, system, taken=before.taken, sequence=before.sequence, jobs=before.jobs)
        else:
            given = before or Twin(device, system)
        after = work(given)
        if after is None:
            connection.execute(delete(twins).where(mine))
        elif after != before:
            row = {"device": device, "system": after.system, "sequence": after.sequence}
            _upsert(connection, twins, {**row, "body": encoding.dump(Twin, after)}, self._state.environment)
        return after


class SqlIdentities:
    """Implements ports.IdentityStore."""

    def __init__(self, state: SqlState) -> None:
        self._state = state

    def ask(self, identity: Identity) -> Identity:
        """Add a key that requests acceptance; a known one keeps its status."""

        def work(known: Sequence[Identity]) -> Iterator[Identity]:
            before = next((each for each in known if each.key == identity.key), None)
            yield (
                identity
                if before is None
                else replace(before, labels=identity.labels, detail={**before.detail, **identity.detail})
            )

        changed = self.change(identity.system, identity.device, work)
        mine = next((each for each in changed if each.key == identity.key), None)
        return mine or self.identity(identity.system, identity.key) or identity

    def identity(self, system: str, key: str) -> Identity | None:
        """Find a key."""
        where = "environment = :environment AND system = :s AND identity_key = :k"
        found = self._state.rows(f"SELECT {_IDENTITY} FROM identities WHERE {where}", s=system, k=key)  # noqa: S608 - constants
        return _identity(found[0]) if found else None

    def identities(
        self, *, system: str | None = None, device: str | None = None, status: IdentityStatus | None = None
    ) -> Sequence[Identity]:
        """List keys, in order of device and time."""
        asked = {"system": system, "device": device, "standing": status.value if status else None}
        chosen = {name: value for name, value in asked.items() if value is not None}
        where = " AND ".join(["environment = :environment", *(f"{name} = :{name}" for name in chosen)])
        found = self._state.rows(
            f"SELECT {_IDENTITY} FROM identities WHERE {where} ORDER BY device, asked_at",  # noqa: S608 - constants
            **chosen,
        )
        return [_identity(row) for row in found]

    def count(self, system: str, status: IdentityStatus) -> int:
        """Count keys without reading them."""
        where = "environment = :environment AND system = :s AND standing = :status"
        found = self._state.rows(f"SELECT COUNT(*) FROM identities WHERE {where}", s=system, status=status.value)  # noqa: S608 - constants
        return sum(int(count) for (count,) in found)

    def known(self, system: str, keys: Collection[str]) -> Mapping[str, Identity]:
        """Find many keys at once."""
        wanted = sorted(set(keys))
        found: list[Row] = []
        for few in (wanted[start : start + FEW] for start in range(0, len(wanted), FEW)):
            names = {f"k{index}": key for index, key in enumerate(few)}
            chosen = ", ".join(f":{name}" for name in names)
            where = f"environment = :environment AND system = :s AND identity_key IN ({chosen})"
            found += self._state.rows(f"SELECT {_IDENTITY} FROM identities WHERE {where}", s=system, **names)  # noqa: S608 - constants
        return {identity.key: identity for identity in map(_identity, found)}

    def decide(self, system: str, key: str, status: IdentityStatus, at: datetime) -> Identity | None:
        """Accept or reject a key; accepting one retires the device's others of this system."""

        def work(known: Sequence[Identity]) -> Iterator[Identity]:
            for each in known:
                if each.key == key:
                    yield replace(each, status=status, decided_at=at)
                elif status is IdentityStatus.ACCEPTED and each.status is IdentityStatus.ACCEPTED:
                    yield replace(each, status=IdentityStatus.RETIRED, decided_at=at)

        return self._change_of(system, key, work)

    def note(self, system: str, key: str, detail: Mapping[str, Any]) -> None:
        """Add to the detail of a key."""
        self._change_of(
            system,
            key,
            lambda known: (replace(each, detail={**each.detail, **detail}) for each in known if each.key == key),
        )

    def change(
        self, system: str, device: str, work: Callable[[Sequence[Identity]], Iterable[Identity]]
    ) -> Sequence[Identity]:
        """Read and write all keys of a device as a whole."""
        from sqlalchemy import select

        from edgewright.state.rows import lock_row
        from edgewright.state.schema import identities

        environment, columns = self._state.environment, identities.c
        mine = (columns.environment == environment) & (columns.system == system)
        query = select(*(columns[name] for name in _IDENTITY.split(", ")))
        with self._state.transaction() as connection:
            lock_row(connection, f"identities {environment} {system} {device}")
            rows = connection.execute(query.where(mine, columns.device == device))
            known = {identity.key: identity for identity in sorted(map(_identity, rows), key=_age)}
            for after in work(list(known.values())):
                if after.key not in known:
                    lock_row(connection, f"identity {environment} {system} {after.key}")
                    if connection.execute(query.where(mine, columns.identity_key == after.key)).one_or_none():
                        continue
                if after != known.get(after.key):
                    _upsert(connection, identities, _identity_row(after), environment)
                    known[after.key] = after
            return sorted(known.values(), key=_age)

    def forget(self, system: str, keys: Collection[str]) -> None:
        """Remove keys."""
        from sqlalchemy import bindparam, delete

        from edgewright.state.schema import identities

        mine = (identities.c.environment == self._state.environment) & (identities.c.system == system)
        if gone := [{"gone": key} for key in sorted(set(keys))]:
            with self._state.transaction() as connection:
                connection.execute(delete(identities).where(mine, identities.c.identity_key == bindparam("gone")), gone)

    def _change_of(
        self, system: str, key: str, work: Callable[[Sequence[Identity]], Iterable[Identity]]
    ) -> Identity | None:
        """Change the keys of the device that has this one; a key never goes to another device."""
        found = self.identity(system, key)
        if found is None:
            return None
        return next((each for each in self.change(system, found.device, work) if each.key == key), None)


class SqlInbox:
    """Implements ports.ReportInbox."""

    def __init__(self, state: SqlState) -> None:
        self._state = state

    def put(self, reports: Sequence[Report], now: datetime | None = None) -> None:
        """Store the newest report of each device."""
        from edgewright.state.schema import inbox
        from edgewright.state.writing import Statements

        newest: dict[str, Report] = {}
        for report in reports:
            before = newest.get(report.device)
            if before is None or _replaces(report, before):
                newest[report.device] = report
        with self._state.transaction() as connection:
            # In one order everywhere, so that no two controllers wait for each other.
            ordered = [newest[device] for device in sorted(newest)]
            Statements(connection, self._state.environment).record_reports(ordered, now, inbox)

    def newer(self, known: Mapping[str, int]) -> Sequence[Report]:
        """List reports that differ in sequence from what is known."""
        pending = self.pending(known)
        with decoding("a report"):
            return [parse_report(body) for _, body in self._state.of_devices("inbox", "body", pending)]

    def pending(self, known: Mapping[str, int]) -> Sequence[str]:
        """List the devices whose reports ``newer`` gives."""
        listed = self._state.rows("SELECT device, sequence FROM inbox WHERE environment = :environment")
        return sorted(device for device, sequence in listed if known.get(device, 0) != sequence)


def _replaces(report: Report, before: Report) -> bool:
    """Compare reports as the store does: a device that lost its count sends a lower sequence later."""
    lost_count = report.sequence < before.sequence and report.sent_at > before.sent_at
    return report.sequence > before.sequence or lost_count


def _age(identity: Identity) -> tuple[datetime, str]:
    return identity.asked_at, identity.key


def _identity(row: Iterable[Any]) -> Identity:
    system, device, key, status, asked_at, decided_at, labels, detail = row
    with decoding(f"the identity of {device}"):
        return Identity(
            system=system,
            device=device,
            key=key,
            status=IdentityStatus(status),
            asked_at=datetime.fromisoformat(asked_at),
            decided_at=datetime.fromisoformat(decided_at) if decided_at else None,
            labels=json.loads(labels),
            detail=json.loads(detail),
        )


def _identity_row(identity: Identity) -> dict[str, Any]:
    return {
        "system": identity.system,
        "identity_key": identity.key,
        "device": identity.device,
        "standing": identity.status.value,
        "asked_at": certain_text(identity.asked_at),
        "decided_at": certain_text(identity.decided_at) if identity.decided_at else None,
        "labels": encoding.to_json(dict(sorted(identity.labels.items()))),
        "detail": encoding.to_json(dict(identity.detail)),
    }


def _upsert(connection: "Connection", table: "Table", row: Mapping[str, Any], environment: str) -> None:
    from edgewright.state.rows import Rows

    Rows(connection, environment).upsert(table, [row])
