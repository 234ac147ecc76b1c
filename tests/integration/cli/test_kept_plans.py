"""A plan that is kept is the plan that would be computed, whatever has changed; what is in doubt is not believed."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgewright.core.planning.plan import Plan
from edgewright.errors import EdgewrightError
from edgewright.reconcile.observer import StandingPlan
from edgewright.render.plan_json import plan_json
from edgewright.render.plan_words import summary_text
from edgewright.services.plans import current_plan
from edgewright.wiring.kept_plans import KeptPlan
from edgewright.wiring.operations import OperatorWorkspace
from paths import ROOT

NOW = datetime(2026, 5, 1, tzinfo=UTC)
_GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "repository"
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.workload", str(folder), "10", "6"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "repository"))


def kept_plan(repository: Path) -> KeptPlan:
    # Ten seconds later, so that what was changed a moment ago counts as settled.
    return KeptPlan(str(repository), clock_ns=lambda: time.time_ns() + 10_000_000_000)


def look(repository: Path) -> tuple[Plan | None, bool]:
    """Plan in full, and keep it; returns None where that fails, and whether it was kept."""
    workspace = OperatorWorkspace(str(repository), clock=lambda: NOW)
    kept = kept_plan(repository)
    kept.note(workspace)
    try:
        found = current_plan(workspace)
        return found, kept.keep(workspace, found)
    except EdgewrightError:
        return None, False
    finally:
        workspace.close()


def answer_file(repository: Path) -> Path:
    return next((repository / ".edgewright/cache").glob("answer-*"))


def agree(repository: Path) -> bool:
    """Check that what is kept is what is computed; returns whether anything was."""
    known = kept_plan(repository).find()
    computed, _ = look(repository)
    if known is not None:
        assert computed is not None, "a plan was believed where none can be made"
        assert known.plan(NOW) == computed
        assert plan_json(known.plan(NOW)) == plan_json(computed)
        assert known.line == (None if computed.notes else summary_text(computed))
    return known is not None


# ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _some(choice: random.Random, folder: Path, pattern: str) -> Path | None:
    files = sorted(path for path in folder.rglob(pattern) if path.is_file())
    return choice.choice(files) if files else None


def _edit_spec(choice: random.Random, repository: Path) -> None:
    path = repository / f"specs/thresholds/0000{choice.randrange(2)}.yaml"
    text = path.read_text()
    path.write_text(text.replace("0.95", "0.99") if "0.95" in text else text.replace("0.99", "0.95"))
    subprocess.run([*_GIT, "commit", "-qam", "Edit"], cwd=repository, check=True)


def _break_spec(choice: random.Random, repository: Path) -> None:
    path = repository / "specs/models/00000.yaml"
    text = path.read_text()
    path.write_text(
        text.replace("epochs: 2", "epochz: 2") if "epochz" not in text else text.replace("epochz", "epochs")
    )
    subprocess.run([*_GIT, "commit", "-qam", "Break or mend"], cwd=repository, check=True)


def _go_back(choice: random.Random, repository: Path) -> None:
    subprocess.run(["git", "reset", "-q", "--hard", "HEAD~1"], cwd=repository, check=False, capture_output=True)


def _edit_state(choice: random.Random, repository: Path) -> None:
    statements = (
        "DELETE FROM artifacts WHERE fingerprint = (SELECT fingerprint FROM artifacts ORDER BY random() LIMIT 1)",
        "DELETE FROM champions",
        "DELETE FROM rollouts WHERE address = 'rollout/reader-0'",
        "DELETE FROM inventory WHERE address LIKE 'model/%'",
        "INSERT OR REPLACE INTO failures (fingerprint, message) SELECT fingerprint, 'x' FROM artifacts LIMIT 1",
        "UPDATE rollouts SET summary = replace(summary, '\"succeeded\"', '\"paused\"')",
        "UPDATE rollouts SET summary = replace(summary, '\"paused\"', '\"succeeded\"')",
        "UPDATE rollouts SET summary = replace(summary, '\"succeeded\"', '\"waiting\"') WHERE address LIKE '%1'",
    )
    with closing(sqlite3.connect(repository / ".edgewright/state.db")) as db, db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute(choice.choice(statements))


def _restore_state(choice: random.Random, repository: Path) -> None:
    shutil.copy(repository.parent / "state.db", repository / ".edgewright/state.db")


def _lose_blob(choice: random.Random, repository: Path) -> None:
    if (blob := _some(choice, repository / ".edgewright/blobs/sha256", "*")) is not None:
        if choice.random() < 0.5:
            blob.unlink()
        else:
            blob.chmod(0o600)
            os.truncate(blob, 0)


def _damage_published(choice: random.Random, repository: Path) -> None:
    if (file := _some(choice, repository / ".edgewright/repository", "*")) is not None:
        file.chmod(0o600)
        match choice.randrange(3):
            case 0:
                file.unlink()
            case 1:
                file.write_bytes(file.read_bytes()[:-1])
            case _:
                data = file.read_bytes()
                file.write_bytes(data.replace(b"0", b"1"))


def _restore_files(choice: random.Random, repository: Path) -> None:
    for name in ("blobs", "repository"):
        shutil.rmtree(repository / ".edgewright" / name)
        shutil.copytree(repository.parent / "before" / name, repository / ".edgewright" / name)


def _nothing(choice: random.Random, repository: Path) -> None:
    pass


_CHANGES: tuple[Callable[[random.Random, Path], None], ...] = (
    _edit_spec,
    _break_spec,
    _go_back,
    _edit_state,
    _edit_state,
    _restore_state,
    _restore_state,
    _lose_blob,
    _damage_published,
    _restore_files,
    _restore_files,
    _nothing,
)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_kept_is_what_would_be_computed_after_any_change(repository: Path, seed: int) -> None:
    edgewright = repository / ".edgewright"
    shutil.copy(edgewright / "state.db", repository.parent / "state.db")
    for name in ("blobs", "repository"):
        shutil.copytree(edgewright / name, repository.parent / "before" / name)
    choice = random.Random(seed)
    believed = 0
    for _ in range(60):
        choice.choice(_CHANGES)(choice, repository)
        believed += agree(repository)
        believed += agree(repository)
    assert believed > 10, "the test compares what is kept"


def test_nothing_is_looked_up_where_nothing_changed(repository: Path) -> None:
    assert look(repository)[1]
    command = [sys.executable, "-X", "importtime", "-m", "edgewright.cli.main", "plan", "--detailed-exitcode"]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("Nothing to do: reality matches commit ")
    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert not {
        name
        for name in loaded
        if name.startswith(("edgewright_schemas.dataset", "edgewright.core.planning", "edgewright.reconcile"))
    }


# ── what is in doubt ──────────────────────────────────────────────────────────────────────────────────────────────


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _change_answer(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"Nothing to do", b"Nothing to du"))


def _of_another_version(file: Path) -> None:
    from edgewright.kept import _sum

    value: dict[str, Any] = json.loads(file.read_bytes().partition(b"\n")[2])
    body = json.dumps(value | {"engine": "0" * 16}).encode()
    file.write_bytes(_sum(body) + b"\n" + body)


def _writable_by_others(file: Path) -> None:
    file.chmod(0o666)


def _link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))


def _of_another_user(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(file, 12345, 12345)


@pytest.mark.parametrize(
    "spoil", [_cut, _change_answer, _of_another_version, _writable_by_others, _link, _of_another_user]
)
def test_an_answer_in_doubt_is_made_again(repository: Path, spoil: Callable[[Path], None]) -> None:
    assert look(repository)[1]
    assert kept_plan(repository).find() is not None
    spoil(answer_file(repository))
    assert kept_plan(repository).find() is None
    assert look(repository)[1], "it is made again"
    assert kept_plan(repository).find() is not None


def test_two_processes_at_once_leave_one_whole_answer(repository: Path) -> None:
    command = [sys.executable, "-m", "edgewright.cli.main", "plan"]
    time.sleep(max(0.0, (repository / ".edgewright/state.db").stat().st_ctime + 2.5 - time.time()))  # files settle
    several = [subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0] for process in several}
    assert len(said) == 1
    assert agree(repository)


def test_what_changed_a_moment_ago_is_not_kept(repository: Path) -> None:
    workspace = OperatorWorkspace(str(repository))
    (repository / ".edgewright/state.db").touch()
    kept = KeptPlan(str(repository))
    kept.note(workspace)
    assert not kept.keep(workspace, current_plan(workspace))
    workspace.close()


def test_sources_outside_git_are_looked_at_by_every_plan(repository: Path) -> None:
    path = repository / "specs/datasets/00000.yaml"
    outside = repository.parent / "outside.csv"
    shutil.copy(repository / "data/0.csv", outside)
    path.write_text(path.read_text().replace("data/0.csv", f"file://{outside}"))
    subprocess.run([*_GIT, "commit", "-qam", "Move data out"], cwd=repository, check=True)
    found, kept = look(repository)
    assert found is not None
    assert not kept


@pytest.mark.parametrize("spoil", [_writable_by_others, _of_another_user, _cut])
def test_parsed_specs_in_doubt_are_parsed_again(repository: Path, spoil: Callable[[Path], None]) -> None:
    before, _ = look(repository)
    (cache,) = (repository / ".edgewright/cache").glob("source-*.sqlite")
    with closing(sqlite3.connect(cache)) as db, db:
        db.execute("UPDATE entries SET value = '{}', sum = ? WHERE kind = 'snapshot'", (zlib.crc32(b"{}"),))
    spoil(cache)
    after, _ = look(repository)
    assert after == before
    (made,) = (repository / ".edgewright/cache").glob("source-*.sqlite")
    assert made.stat().st_uid == os.geteuid()


def test_a_standing_plan_is_what_would_be_computed_after_any_change(repository: Path) -> None:
    for name in ("blobs", "repository"):
        shutil.copytree(repository / ".edgewright" / name, repository.parent / "before" / name)
    workspace = OperatorWorkspace(str(repository), clock=lambda: NOW)
    desired = workspace.source.snapshot()
    standing, choice, reused = StandingPlan(workspace.reality(desired)), random.Random(3), 0
    for number in range(30):
        match choice.randrange(6):
            case 0:
                _lose_blob(choice, repository)
            case 1:
                _damage_published(choice, repository)
            case 2 | 3:
                _restore_files(choice, repository)
            case 4:
                workspace.state.enroll({f"lane-{number}": {"region": "eu"}})
        for _ in range(2):
            try:
                computed: Plan | None = current_plan(workspace)
            except EdgewrightError:
                computed = None
            try:
                before = standing.last_plan
                found, _ = standing.plan(desired, NOW, retry_failures=False, deep=False)
                reused += before is not None and standing.last_plan is before
                assert found == computed
            except EdgewrightError:
                assert computed is None
    assert reused > 10, "the test compares what was kept"
    workspace.close()
