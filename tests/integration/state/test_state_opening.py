"""Opening a store: none, old, new, damaged, read-only, full. Permissions and limits here are the kernel's own."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateTable

from edgewright.errors import StateError, StateTooNew
from edgewright.state import queries, upgrading
from edgewright.state.lease import acquire
from edgewright.state.revisions import HEAD, REVISIONS
from edgewright.state.schema import metadata
from edgewright.state.store import SqlState
from harness.children import child, heard
from harness.ordinary_user import as_ordinary_user
from samples.state_values import NOW, ROLLOUT, a_rollout, an_artifact

TTL = timedelta(minutes=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store with something in it, closed cleanly."""
    path = tmp_path / "repository" / ".edgewright" / "state.db"
    with SqlState(path) as state:
        acquire(state, "test", TTL, lambda: NOW)
        state.record_artifact(an_artifact())
        state.set_last_revision("abc")
    return path


def write(path: Path) -> None:
    with SqlState(path) as state:
        state.enroll({"lane-1": {}})


def read(path: Path) -> str | None:
    with SqlState(path) as state:
        return state.last_revision()


def test_reading_makes_no_files(tmp_path: Path) -> None:
    with SqlState(tmp_path / ".edgewright" / "state.db") as state:
        assert dict(state.artifacts()) == {}
        assert state.rollout(ROLLOUT) is None
        assert state.version() == "0-0"
    assert list(tmp_path.iterdir()) == []


def test_reading_does_not_change_the_file(file: Path) -> None:
    before = file.read_bytes()
    assert read(file) == "abc"
    assert file.read_bytes() == before


def test_a_reader_sees_the_store_as_soon_as_another_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with SqlState(path) as reader:
        assert dict(reader.enrolled()) == {}
        write(path)
        assert dict(reader.enrolled()) == {"lane-1": {}}


def test_reading_sqlite_imports_neither_sqlalchemy_nor_alembic(file: Path) -> None:
    program = """
import sys
from edgewright.state.store import SqlState
print(SqlState(sys.argv[1]).last_revision(), *sorted({"sqlalchemy", "alembic"} & sys.modules.keys()))
"""
    with child(program, file) as process:
        assert heard(process) == "abc"


def test_writing_a_current_store_does_not_import_alembic(file: Path) -> None:
    program = """
import sys
from edgewright.state.store import SqlState
state = SqlState(sys.argv[1])
state.enroll({"lane-1": {}})
print(state.last_revision(), *sorted({"alembic"} & sys.modules.keys()))
"""
    with child(program, file) as process:
        assert heard(process) == "abc"


def test_sqlite_is_set_to_lose_nothing(file: Path) -> None:
    with SqlState(file) as state, state.transaction() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert settings == ["wal", 2, 1, 30_000]


@pytest.mark.parametrize("use", [read, write])
def test_a_store_of_a_newer_version_is_refused_and_left_alone(file: Path, use: Callable[[Path], object]) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(StateTooNew) as caught:
        use(file)
    assert str(file) in str(caught.value)
    assert "9999" in str(caught.value)
    assert "upgrade edgewright" in str(caught.value)
    assert file.read_bytes() == before


@pytest.mark.parametrize("use", [read, write])
def test_what_is_no_database_is_refused(file: Path, use: Callable[[Path], object]) -> None:
    file.write_text("this is a text file, not a database\n" * 100)
    with pytest.raises(StateError, match="damaged or is no database"):
        use(file)


def test_a_damaged_database_is_told_and_not_taken_for_an_empty_one(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(StateError, match="damaged"):
        read(file)


@pytest.mark.parametrize("use", [read, write])
@pytest.mark.parametrize("size", [100, 3000, 5000, 9000, 20000])
def test_a_truncated_database_is_damaged_and_not_of_a_newer_version(
    file: Path, use: Callable[[Path], object], size: int
) -> None:
    os.truncate(file, size)
    with pytest.raises(StateError, match="damaged") as caught:
        use(file)
    assert not isinstance(caught.value, StateTooNew)
    assert "restore it from a backup" in caught.value.hint


@pytest.mark.parametrize("use", [read, write])
@pytest.mark.parametrize("change", ["UPDATE alembic_version SET version_num = ''", "DELETE FROM alembic_version"])
def test_a_store_without_its_revision_is_damaged(file: Path, use: Callable[[Path], object], change: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(StateError, match=r"damaged.*its revision is lost"):
        use(file)


@pytest.mark.parametrize("use", [read, write])
def test_a_database_of_something_else_is_refused(tmp_path: Path, use: Callable[[Path], object]) -> None:
    path = tmp_path / "notes.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    connection.close()
    with pytest.raises(StateError, match="something else"):
        use(path)


@pytest.fixture
def with_a_later_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This version, as it will be when the next revision has been added."""
    migrations = tmp_path / "migrations"
    shutil.copytree(upgrading.MIGRATIONS, migrations)
    (migrations / "versions" / "0999_later.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\n"
        f"revision = '0999'\ndown_revision = {HEAD!r}\n"
        "def upgrade():\n    op.add_column('control', sa.Column('later', sa.Integer))\n"
    )
    monkeypatch.setattr(upgrading, "MIGRATIONS", migrations)
    monkeypatch.setattr(queries, "REVISIONS", (*REVISIONS, "0999"))
    monkeypatch.setattr(queries, "HEAD", "0999")


@pytest.mark.usefixtures("with_a_later_revision")
def test_reading_an_older_store_upgrades_a_copy_and_writing_upgrades_the_store(file: Path) -> None:
    before = file.read_bytes()
    with SqlState(file) as state:
        assert state.last_revision() == "abc"
        assert file.read_bytes() == before
        state.enroll({"lane-1": {}})
        assert state.enrolled() == {"lane-1": {}}
    with sqlite3.connect(file) as connection:
        found = connection.execute("SELECT version_num, later, last_revision FROM alembic_version, control").fetchone()
    connection.close()
    assert found == ("0999", None, "abc")


def test_the_migrations_make_the_tables_the_code_uses(file: Path) -> None:
    with create_engine(f"sqlite:///{file}").connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []


def test_the_known_revisions_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory.from_config(upgrading.config())
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)
    assert scripts.get_current_head() == HEAD


def test_the_tables_suit_postgresql() -> None:
    dialect = PGDialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves the constructors of dialects untyped
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
        assert all(len(column.name) <= 63 for column in table.columns)


def test_a_read_only_store_is_read_and_a_write_says_what_to_do(file: Path) -> None:
    for name in file.parent.iterdir():
        name.chmod(0o444)
    file.parent.chmod(0o555)
    assert as_ordinary_user(lambda: read(file)) == "abc"
    assert [path.name for path in file.parent.iterdir()] == ["state.db"]
    with pytest.raises(StateError) as caught:
        as_ordinary_user(lambda: write(file))
    assert "writable" in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_store_cannot_be_made_below_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    path = tmp_path / ".edgewright" / "state.db"
    assert as_ordinary_user(lambda: read(path)) is None
    with pytest.raises(StateError, match=r"cannot be made: Permission denied"):
        as_ordinary_user(lambda: write(path))


def test_an_unreadable_store_is_told(file: Path) -> None:
    file.chmod(0)
    with pytest.raises(StateError, match="unable to open"):
        as_ordinary_user(lambda: read(file))


def test_a_folder_whose_name_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / ".edgewright").write_text("")
    with pytest.raises(StateError, match=r"Not a directory|File exists"):
        write(tmp_path / ".edgewright" / "state.db")


FULL = """
import resource, sys
from edgewright.errors import StorageFull
from edgewright.state.store import SqlState
state = SqlState(sys.argv[1])
state.enroll({"lane-0": {}})
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    state.enroll({f"lane-{i}": {"note": "x" * 1000} for i in range(2000)})
except StorageFull as error:
    print("full:", error.message)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(state.enrolled()))
state.enroll({"lane-1": {}})
print(len(state.enrolled()))
"""


def test_a_full_disk_is_told_and_nothing_is_lost(file: Path) -> None:
    with child(FULL, file) as process:
        assert heard(process).startswith(f"full: the state store {file} cannot be written")
        assert (heard(process), heard(process)) == ("1", "2")


def test_a_url_that_cannot_be_used_is_told_without_its_password() -> None:
    for url in ("postgresql+nonesuch://me:hunter2@db/state", "postgresql+psycopg://me:hunter2@db:x/state"):
        with pytest.raises(StateError) as caught, SqlState(url) as state:
            state.enroll({"lane-1": {}})
        assert "hunter2" not in str(caught.value)


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(StateError, match="names no file"):
        SqlState("sqlite://")


def test_a_path_may_hold_what_urls_may_not(tmp_path: Path) -> None:
    path = tmp_path / "a b%20?#&" / "state.db"
    write(path)
    with SqlState(path) as state:
        assert dict(state.enrolled()) == {"lane-1": {}}
    assert path.exists()


def test_the_store_opens_without_an_alembic_ini_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("state.db"))
    assert (tmp_path / "state.db").exists()
    assert "alembic.ini" not in {path.name for path in tmp_path.iterdir()}


def test_artifacts_of_a_store_are_decoded_only_when_looked_at(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(
            "INSERT INTO artifacts SELECT 'f', action, address, digest, seconds, created_at, '{' FROM artifacts"
        )
    connection.close()
    with SqlState(file) as state:
        found = state.artifacts()
        assert len(found) == 2
        assert found[an_artifact().fingerprint] == an_artifact()


def test_summaries_do_not_read_devices(file: Path) -> None:
    with SqlState(file) as state:
        acquire(state, "test", TTL, lambda: NOW + TTL)
        state.save_rollout(ROLLOUT, a_rollout("lane-1"))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE rollout_devices SET body = '{'")
    connection.close()
    with SqlState(file) as state:
        assert sum(state.rollout_summaries()[ROLLOUT].counts.values()) == 1


def test_a_value_this_version_does_not_know_is_told(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE artifacts SET action = 'teleport'")
    connection.close()
    with SqlState(file) as state:
        with pytest.raises(StateError, match="teleport"):
            dict(state.artifacts())
        with pytest.raises(StateError, match="upgrade edgewright"):
            state.durations()
