"""A store of the first revision, with something in every table: it is read as it is, and the first write upgrades it.

The first migration makes the tables, and the statements here name the columns it had.
"""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text

from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import Controls
from edgewright.errors import StateError
from edgewright.state import encoding, upgrading
from edgewright.state.lease import acquire
from edgewright.state.schema import metadata
from edgewright.state.store import SqlState
from harness.ordinary_user import as_ordinary_user
from samples.state_values import (
    MODEL,
    NOW,
    ROLLOUT,
    a_report,
    a_rollout,
    an_artifact,
    an_assignment,
    an_event,
)
from servers.postgresql import PostgresqlServer

TTL = timedelta(minutes=1)
CHAMPION = Champion("p", "e", "f", "int8")
ROLLING = a_rollout("lane-1", "lane-2")


@dataclass(frozen=True)
class Old:
    """A store of revision 0001."""

    address: Path | str
    engine: Callable[[], Engine]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    if request.param == "sqlite":
        path = tmp_path / "state.db"
        made = Old(path, lambda: create_engine(f"sqlite:///{path}"))
    else:
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        url = server.fresh()
        made = Old(url, lambda: create_engine(url.replace("postgresql:", "postgresql+psycopg:")))
    engine = made.engine()
    with engine.begin() as connection:
        command.upgrade(upgrading.config(connection), "0001")
        for table, rows in _rows().items():
            for row in rows:
                names = ", ".join(row)
                values = ", ".join(f":{name}" for name in row)
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)
        connection.execute(text("UPDATE control SET version = 41, fence = 7, last_revision = 'abc'"))
    engine.dispose()
    return made


def _rows() -> dict[str, list[dict[str, object]]]:
    at = encoding.to_text(NOW)
    rollout = encoding.EncodedRollout(ROLLING)
    return {
        "artifacts": [dict(zip(encoding.ARTIFACT_COLUMNS, encoding.artifact_row(an_artifact()), strict=True))],
        "failures": [{"fingerprint": "sha256:f", "message": "no rows"}],
        "champions": [{"model": "reader", "body": encoding.champion_text(CHAMPION)}],
        "rollouts": [
            {
                "address": str(ROLLOUT),
                "summary": rollout.summary,
                "state": rollout.state,
                "releases": rollout.releases,
            }
        ],
        "rollout_devices": [
            {"address": str(ROLLOUT), "device": device, "body": body} for device, body in rollout.devices.items()
        ],
        "controls": [{"address": str(ROLLOUT), "body": '{"paused":true}'}],
        "assignments": [
            {"device": "lane-1", "version": 4, "published": 1, "body": an_assignment("lane-1", 4).to_bytes().decode()}
        ],
        "reports": [
            {"device": "lane-1", "sequence": 9, "sent_at": at, "body": a_report("lane-1", 9).to_bytes().decode()}
        ],
        "enrolled": [{"device": "lane-1", "labels": '{"ring":"canary"}'}],
        "inventory": [{"address": str(MODEL), "prune_disabled": 1}],
        "intents": [
            {
                "name": "train a",
                "action": "train",
                "address": str(MODEL),
                "detail": '{"attempt":2}',
                "at": at,
                "outcome": None,
            }
        ],
        "used_plans": [{"plan_id": "plan-1", "used_at": at}],
        "events": [
            {
                "at": encoding.to_text(event.at),
                "reason": event.reason,
                "address": event.address,
                "message": event.message,
                "data": json.dumps(event.data),
                "revision": event.revision,
            }
            for event in (an_event(1), an_event(2, ROLLOUT))
        ],
    }


def _check(state: SqlState) -> None:
    assert state.artifacts() == {an_artifact().fingerprint: an_artifact()}
    assert state.failures() == {"sha256:f": "no rows"}
    assert state.champions() == {"reader": CHAMPION}
    assert state.rollout(ROLLOUT) == ROLLING
    assert list(state.rollout_summaries()) == [ROLLOUT]
    assert state.requested_controls() == {ROLLOUT: Controls(paused=True)}
    assert state.assignments()["lane-1"].assignment == an_assignment("lane-1", 4)
    assert state.assignments()["lane-1"].published
    assert state.reports() == {"lane-1": a_report("lane-1", 9)}
    assert state.enrolled() == {"lane-1": {"ring": "canary"}}
    assert state.managed() == {MODEL: True}
    assert [intent.detail for intent in state.open_intents()] == [{"attempt": 2}]
    assert state.plan_used("plan-1") == NOW
    assert list(state.events_after(0)) == [(1, an_event(1)), (2, an_event(2, ROLLOUT))]
    assert list(state.events(address=str(MODEL))) == [an_event(1)]
    assert (state.last_event(), state.last_revision(), state.accepted_revision()) == (2, "abc", None)
    assert list(state.environments()) == [""]


def test_a_store_of_the_first_version_is_upgraded_by_the_first_write(old: Old) -> None:
    with SqlState(old.address) as state:
        lease = acquire(state, "edgewright apply", TTL)
        assert lease.fence == 8, "fences only grow, whichever version hands them out"
        _check(state)
        assert state.version() == "41-0"
        state.add_events([an_event(3)])
        state.record_reports([a_report("lane-1", 10)])
        assert (state.last_event(), state.report_sequences()) == (3, {"lane-1": 10})
    with SqlState(old.address, "staging") as other:
        acquire(other, "edgewright apply", TTL)
        other.add_events([an_event(9)])
        other.record_reports([a_report("lane-1", 1)])
        assert list(other.events_after(0)) == [(1, an_event(9))]
    with SqlState(old.address) as state:
        assert list(state.environments()) == ["", "staging"]
        assert state.report_sequences() == {"lane-1": 10}


def test_the_upgraded_tables_are_those_the_code_uses(old: Old) -> None:
    with SqlState(old.address) as state:
        state.enroll({})
    engine = old.engine()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        inspector = inspect(connection)
        for table in metadata.sorted_tables:
            key = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert sorted(key) == sorted(column.name for column in table.primary_key), table.name
        indexes = {index["name"]: index["column_names"] for index in inspector.get_indexes("events")}
        assert indexes == {"events_by_address": ["environment", "address", "id"]}
    engine.dispose()


@pytest.mark.parametrize("old", ["sqlite"], indirect=True)
def test_reading_upgrades_a_copy_and_leaves_the_file_alone(old: Old, tmp_path: Path) -> None:
    assert isinstance(old.address, Path)
    before = old.address.read_bytes()
    with SqlState(old.address) as state:
        _check(state)
    with SqlState(old.address, "staging") as other:
        assert (dict(other.reports()), list(other.artifacts())) == ({}, [an_artifact().fingerprint])
    assert old.address.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.parametrize("old", ["sqlite"], indirect=True)
def test_a_file_that_may_not_be_written_is_read_upgraded(old: Old, tmp_path: Path) -> None:
    assert isinstance(old.address, Path)
    address = old.address
    address.chmod(0o444)
    tmp_path.chmod(0o555)

    def read() -> str | None:
        with SqlState(address) as state:
            return state.last_revision()

    assert as_ordinary_user(read) == "abc"


@pytest.mark.parametrize("old", ["postgresql"], indirect=True)
@pytest.mark.xdist_group("postgresql")
def test_reading_a_server_of_the_first_version_says_what_upgrades_it(old: Old) -> None:
    with SqlState(old.address) as state, pytest.raises(StateError, match="run apply, which upgrades it"):
        state.last_revision()


@pytest.mark.parametrize("old", ["sqlite"], indirect=True)
def test_an_upgrade_that_fails_leaves_the_old_store(old: Old) -> None:
    assert isinstance(old.address, Path)
    with sqlite3.connect(old.address) as connection:
        connection.execute("CREATE TABLE conditions (x TEXT)")  # in the way of the upgrade, after most of its work
    connection.close()
    before = _dump(old.address)
    with SqlState(old.address) as state, pytest.raises(StateError, match="conditions"):
        state.enroll({"lane-9": {}})
    assert _dump(old.address) == before


def _dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
