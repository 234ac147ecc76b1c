"""What an earlier version left behind is taken up as it is: its state, artifacts, deliveries, devices and saved plans.

The packages in ``before`` were made by that version's own programs, as ``before/README.md`` tells. Clocks were set back
then, so every signature in them has run out: what these tests see does not change with the day they run on.
"""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgewright_agent.handle import ModelHandle
from harness.children import child
from harness.command_line import PROGRAM, edgewright, ended, spawn
from paths import TESTS

KEPT = TESTS / "samples/earlier"
AGENT = PROGRAM.with_name("edgewright-agent")
LOOKS = {
    "plan": ["plan"],
    "status": ["status"],
    "history": ["history"],
    "devices": ["devices", "list"],
    "rollout": ["rollout", "status", "shelf"],
    "explain": ["explain", "model/shelf"],
}
"""By the name of what the earlier version printed, the command."""
UNJUDGED = "an earlier version made its int8 variant, whose outputs were not compared one by one with fp32's"
"""What is told of evidence that the earlier version could not judge."""


@dataclass(frozen=True)
class Kept:
    """A package, unpacked."""

    folder: Path

    @property
    def shop(self) -> Path:
        """The spec repository."""
        return self.folder / "shop"

    @property
    def state(self) -> Path:
        return self.shop / ".edgewright/state.db"

    def device(self, name: str) -> Path:
        return self.folder / "devices" / name

    def look(self, name: str, env: str = "") -> Any:
        """What this version says."""
        command, *rest = LOOKS[name]
        return edgewright(self.shop, command, *rest, *_env(env), "-o", "json").expect(0).json()

    def said(self, name: str, env: str = "") -> Any:
        """Return what the earlier version said, with today's names for keys of ``-o json`` that were renamed since."""
        said = json.loads((self.folder / "expected" / f"{name}{f'-{env}' if env else ''}.json").read_bytes())
        if name == "status":
            for resource in said["resources"]:
                if devices := resource.pop("devices"):
                    resource["rollout"] = {"counts": devices}
        if name == "devices":
            for device in said:
                device["reason"] = device.pop("trouble")
        return said

    def compare(self, *names: str, env: str = "") -> None:
        """Hold what is said now to what was said then."""
        for name in names:
            lost = list(_lost(self.said(name, env), _without_advice(self.look(name, env)), name))
            assert lost == []


def unpack(name: str, folder: Path, *, moved: bool = False) -> Kept:
    """Unpack as if it had been made in this folder; or, when it has moved, with the paths of where it was."""
    with tarfile.open(KEPT / f"{name}.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    kept = Kept(folder)
    for report in folder.glob("shop/.edgewright/**/reports/*.json"):  # the package has one time for all its files
        at = datetime.fromisoformat(json.loads(report.read_bytes())["sentAt"]).timestamp()
        os.utime(report, (at, at))
    if not moved:
        was = json.loads((folder / "made.json").read_bytes())["folder"]
        for pattern in ("devices/*/agent.toml", "shop/.edgewright/**/repositories.json", "**/reports-index.json"):
            for file in folder.glob(pattern):
                file.write_text(file.read_text().replace(was, str(folder)))
    return kept


def _env(env: str) -> list[str]:
    return ["--env", env] if env else []


def _without_advice(value: Any) -> Any:
    """Leave out what is told of evidence that the earlier version could not judge."""
    if isinstance(value, dict):
        return {key: _without_advice(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_advice(each) for each in value if not (isinstance(each, dict) and _is_advice(each))]
    return "" if isinstance(value, str) and value.startswith(UNJUDGED) else value


def _is_advice(value: dict[str, Any]) -> bool:
    return value.get("reason") == "NotJudged"


def _lost(then: Any, now: Any, where: str) -> Iterator[str]:
    """What was said and is no more, or is said otherwise. More may be said; a plan's id holds the time."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key, value in then.items():
            if key not in now:
                yield f"{where}.{key} is missing"
            elif key != "planId":
                yield from _lost(value, now[key], f"{where}.{key}")
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for index, pair in enumerate(zip(then, now, strict=True)):
            yield from _lost(*pair, f"{where}[{index}]")
    elif then != now:
        yield f"{where} was {then!r} and is {now!r}"


@contextmanager
def switched_on(kept: Kept, *devices: str) -> Iterator[None]:
    """Run the devices' agents, on what they have learned from the earlier version."""
    agents = []
    for device in devices:
        with (kept.folder / f"{device}.log").open("wb") as log:
            command = [str(AGENT), "run", "--config", str(kept.device(device) / "agent.toml")]
            agents.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    try:
        yield
    finally:
        for agent in agents:
            agent.terminate()
        for agent in agents:
            agent.wait()


def _nothing_to_do(kept: Kept, env: str = "", *, drift: bool = False) -> None:
    more = ["--drift"] if drift else []
    edgewright(kept.shop, "plan", "--detailed-exitcode", *more, *_env(env)).expect(0, "Nothing to do")


def _all_ready(kept: Kept, env: str = "") -> None:
    for resource in kept.look("status", env)["resources"]:
        holds = {c["type"]: c["status"] for c in resource["conditions"]}
        assert holds == {"Ready": "True", "Reconciling": "False", "Stalled": "False"}, resource


def _verified(kept: Kept, model: str, env: str = "") -> dict[str, str]:
    return {
        row["device"]: each["verified"]
        for row in kept.look("devices", env)
        for each in row["models"]
        if each["model"] == model
    }


def _rows(kept: Kept, query: str) -> list[Any]:
    with closing(sqlite3.connect(kept.state)) as database:
        return database.execute(query).fetchall()


# ── at rest ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_where_all_was_ready_nothing_is_to_do(tmp_path: Path) -> None:
    kept = unpack("applied", tmp_path)
    before = kept.state.read_bytes()
    for env in ("staging", "production"):
        _nothing_to_do(kept, env)
        _nothing_to_do(kept, env, drift=True)
        _all_ready(kept, env)
        kept.compare(*LOOKS, env=env)
        (note,) = kept.look("plan", env)["notes"]
        assert (note["address"], note["reason"]) == ("model/shelf", "NotJudged"), note
        assert note["message"].startswith(UNJUDGED) and "set package.quantization.parity: 0.5" in note["message"]
        told = [each["address"] for each in kept.look("status", env)["resources"] if UNJUDGED in str(each)]
        assert told == ["model/shelf"]
    edgewright(kept.shop, "validate").expect(0)
    edgewright(kept.shop, "gc", "--dry-run").expect(0, "would remove 0 artifacts, 0 stored files")
    assert kept.state.read_bytes() == before


def test_where_it_has_moved_nothing_is_to_do_either(tmp_path: Path) -> None:
    kept = unpack("applied", tmp_path, moved=True)
    _nothing_to_do(kept, "staging", drift=True)
    edgewright(kept.shop, "apply", "--yes", "--env", "staging").expect(0, "Reality matches")
    _nothing_to_do(kept, "staging", drift=True)


def test_a_release_of_then_is_still_compared_with_its_champion(tmp_path: Path) -> None:
    kept = unpack("applied", tmp_path)
    edgewright(kept.shop, "history", "--reason", "GateFailed", "--env", "staging").expect(
        0, "stopped before any device"
    )
    reverted = kept.said("history", "staging")[0]["revision"]
    found = edgewright(kept.shop, "plan", "--ref", reverted, "--env", "staging", "-o", "json").expect(0).json()
    assert [gate for gates in found["verdicts"].values() for gate in gates], (
        "the evidence of then is judged, not redone"
    )
    assert found["steps"] == [], "and not made again"


def test_devices_go_on_once_the_signatures_are_renewed(tmp_path: Path) -> None:
    kept = unpack("applied", tmp_path)
    device = kept.device("shop-1")
    model = ModelHandle(device, "shelf")
    before = (model.version, model.labels, model.config, model.run(np.array([[0.9, 0.1]], np.float32)).tolist())
    learned = json.loads((device / "state.json").read_bytes())
    edgewright(kept.shop, "apply", "--yes", "--env", "production").expect(0, "Reality matches")
    published = kept.shop / ".edgewright/environments/production/repository/metadata/timestamp.json"
    expires = json.loads(published.read_bytes())["signed"]["expires"]
    assert datetime.fromisoformat(expires) > datetime.now(UTC)
    done = subprocess.run(
        [AGENT, "run", "--once", "--config", device / "agent.toml"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    now = json.loads((device / "state.json").read_bytes())
    assert (now["accepted"], now["models"]) == (learned["accepted"], learned["models"]), "there was nothing new"
    model = ModelHandle(device, "shelf")
    assert (model.version, model.labels, model.config, model.run(np.array([[0.9, 0.1]], np.float32)).tolist()) == before
    _nothing_to_do(kept, "production", drift=True)


# ── in the middle of something ────────────────────────────────────────────────────────────────────────────────────


def test_a_rollout_that_waited_goes_on(tmp_path: Path) -> None:
    kept = unpack("mid-rollout", tmp_path)
    kept.compare("plan", "status", "history", "devices", "rollout")
    before = _verified(kept, "shelf")
    assert before["dev-1"] != before["dev-2"], "the canary runs the new release"
    edgewright(kept.shop, "status").expect(0, "1/2 verified (1 pending)", "a pause was asked for")
    edgewright(kept.shop, "rollout", "resume", "shelf").expect(0)
    edgewright(kept.shop, "rollout", "approve", "shelf").expect(0)
    with switched_on(kept, "dev-1", "dev-2"):
        edgewright(kept.shop, "apply", "--yes", "--timeout", "60s").expect(0, "RolloutSucceeded")
    assert _verified(kept, "shelf") == dict.fromkeys(before, before["dev-1"])
    _nothing_to_do(kept)
    _all_ready(kept)


def test_an_apply_that_was_killed_while_it_published_is_finished(tmp_path: Path) -> None:
    kept = unpack("killed", tmp_path)
    assert [name for (name,) in _rows(kept, "SELECT action FROM intents WHERE outcome IS NULL")] == ["publish"]
    kept.compare("plan", "history")
    running = _verified(kept, "shelf")
    edgewright(kept.shop, "apply", str(tmp_path / "killed.plan")).expect(1, "stale")
    with switched_on(kept, "dev-1", "dev-2"):
        edgewright(kept.shop, "apply", str(tmp_path / "next.plan"), "--timeout", "60s").expect(0, "RolloutSucceeded")
    assert _rows(kept, "SELECT action FROM intents WHERE outcome IS NULL") == []
    found = _verified(kept, "trend")
    assert set(found) == {"dev-1", "dev-2"}
    assert len(set(found.values())) == 1
    assert _verified(kept, "shelf") == running
    _nothing_to_do(kept)
    _all_ready(kept)


def test_a_training_that_was_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    kept = unpack("killed-training", tmp_path)
    kept.compare("plan", "history")
    process = spawn(kept.shop, "apply", "--yes", start_new_session=True)
    try:
        assert process.stderr is not None
        epochs = (re.search(r"train model/shelf: epoch (\d+)/", line) for line in process.stderr)
        first = next((int(found[1]) for found in epochs if found), 0)
        process.send_signal(signal.SIGINT)
        ended(process).expect(130)
    finally:
        if process.poll() is None:
            process.kill()
    assert first > 2, "what was trained before is not trained again"


# ── killed while it upgrades ──────────────────────────────────────────────────────────────────────────────────────

POINTS = 6
WRITER = """
import json, os, shutil, signal, sqlite3, sys
from pathlib import Path

template, scratch, most = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
WRITES = ("BEGIN", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "COMMIT")
real = sqlite3.connect


def apply(repository, at):
    from edgewright.cli.main import run

    written = []

    def trace(statement):
        if statement.lstrip().upper().startswith(WRITES):
            written.append(statement)
            if len(written) == at:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()

    def connect(database, *rest, **more):
        connection = real(database, *rest, **more)
        if Path(str(database)).name == "state.db":
            connection.set_trace_callback(trace)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = connect
    sys.argv = ["edgewright", "apply", "--yes", "--env", "staging", "--repo", str(repository)]
    try:
        run()
    except SystemExit as ended:
        assert not ended.code, ended.code
    return written


def copied(name):
    shutil.copytree(template, scratch / name, symlinks=True)
    return scratch / name


sys.stdout, told = sys.stderr, sys.stdout
written = apply(copied("reference"), 0)
upgrade = [n for n, statement in enumerate(written) if "UPDATE alembic_version" in statement]
last = next(n for n, s in enumerate(written) if n >= max(upgrade, default=0) and s.startswith("COMMIT")) + 1
points = sorted({1 + (last - 1) * n // (most - 1) for n in range(most)} | ({last + 1} if upgrade else set()))
for point in points:
    repository = copied(str(point))
    one = os.fork()
    if not one:
        apply(repository, point)
        os._exit(0)
    status = os.waitpid(one, 0)[1]
    assert os.WIFSIGNALED(status), status
    print(json.dumps([str(repository), written[point - 1]]), file=told, flush=True)
"""
"""Runs apply on copies of a repository, and in each but the first ends it before another statement that writes.

Those of the upgrade are chosen among, where the store has to be upgraded; else those of the first transaction.
"""


def test_an_upgrade_that_is_killed_leaves_a_store_that_the_next_upgrades(tmp_path: Path) -> None:
    kept = unpack("applied", tmp_path / "kept", moved=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with child(WRITER, kept.shop, scratch, POINTS) as writer:
        killed, _ = writer.communicate(timeout=120)
        assert writer.returncode == 0
    points = [json.loads(line) for line in killed.splitlines()]
    assert len(points) >= 2
    for folder, _statement in points:
        after = _Copy(kept.folder, Path(folder))
        _nothing_to_do(after, "staging")
        after.compare("history", "devices", env="staging")
        edgewright(after.shop, "apply", "--yes", "--env", "staging").expect(0, "Reality matches")
        assert _rows(after, "PRAGMA integrity_check") == [("ok",)]
        assert len(_rows(after, "SELECT version_num FROM alembic_version")) == 1
        after.compare("history", "devices", "rollout", env="staging")
        shutil.rmtree(folder)


@dataclass(frozen=True)
class _Copy(Kept):
    """A copy of a repository alone."""

    repository: Path

    @property
    def shop(self) -> Path:
        return self.repository
