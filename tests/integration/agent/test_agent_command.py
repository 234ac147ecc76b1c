"""``edgewright-agent`` as a user starts it: a process of its own, real onnxruntime, a repository on disk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgewright_agent.handle import ModelHandle
from edgewright_agent.main import main
from edgewright_wire.messages import Phase, Report
from paths import TESTS
from samples.agent_packages import FEATURES, MODEL, a_package, assignment, target, weights
from servers.tuf_repository import TufRepository

DEVICE = "lane-7"
COMMAND = [sys.executable, "-m", "edgewright_agent"]


@pytest.fixture
def repository(tmp_path: Path) -> TufRepository:
    return TufRepository(tmp_path / "repository")


def init(tmp_path: Path, repository: TufRepository, *more: str) -> list[str]:
    (tmp_path / "root.json").write_bytes(repository.root)
    where = ["--repository", str(repository.path), "--reports", str(tmp_path / "reports")]
    trust = ["--root", str(tmp_path / "root.json"), "--poll", "50ms"]
    return ["init", "--dir", str(tmp_path / "device"), "--device", DEVICE, *where, *trust, *more]


def config(tmp_path: Path) -> list[str]:
    return ["--config", str(tmp_path / "device" / "agent.toml")]


def assign(repository: TufRepository, version: int) -> str:
    package = a_package(version, onnx=True)
    repository.add_package(package)
    repository.assign(assignment(DEVICE, version, target(package)))
    return package.digest


def reported(tmp_path: Path) -> Report | None:
    path = tmp_path / "reports" / f"{DEVICE}.json"
    return Report.from_bytes(path.read_bytes()) if path.exists() else None


def wait_for_verified(tmp_path: Path, process: subprocess.Popen[bytes], digest: str) -> None:
    until = time.monotonic() + 60
    while (report := reported(tmp_path)) is None or not report.models or report.models[0].verified != digest:
        assert process.poll() is None, "the agent ended"
        assert time.monotonic() < until, report
        os.sched_yield()


def test_set_up_run_once_look_and_probe(
    tmp_path: Path, repository: TufRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = assign(repository, 1)
    assert main(init(tmp_path, repository, "--device-class", "lane-camera")) == 0
    assert "edgewright-agent run --config" in capsys.readouterr().out

    assert main(["run", *config(tmp_path), "--once"]) == 0
    report = reported(tmp_path)
    assert report is not None
    assert (report.device_class, report.models[0].phase) == ("lane-camera", Phase.VERIFIED)
    assert report.models[0].probe is not None
    assert report.models[0].probe.runtime.startswith("onnxruntime 1.")

    capsys.readouterr()
    assert main(["status", *config(tmp_path), "-o", "json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["models"][0]["verified"] == digest
    assert main(["status", *config(tmp_path)]) == 0
    assert f"verified  {digest}" in capsys.readouterr().out

    assert main(["probe", *config(tmp_path), MODEL]) == 0
    assert "passed: 5 golden samples" in capsys.readouterr().out

    inputs = np.ones((2, FEATURES), np.float32)
    handle = ModelHandle(tmp_path / "device", MODEL)
    np.testing.assert_allclose(handle.run(inputs), inputs @ weights(1), rtol=1e-5)


def test_a_process_updates_survives_a_kill_and_stops_on_sigterm(tmp_path: Path, repository: TufRepository) -> None:
    assert main(init(tmp_path, repository)) == 0
    first = assign(repository, 1)
    with subprocess.Popen([*COMMAND, "run", *config(tmp_path)], stderr=subprocess.DEVNULL) as killed:
        wait_for_verified(tmp_path, killed, first)
        killed.kill()
    second = assign(repository, 2)
    with subprocess.Popen([*COMMAND, "run", *config(tmp_path)], stderr=subprocess.PIPE) as process:
        wait_for_verified(tmp_path, process, second)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"verified" in log
    assert b"Traceback" not in log


def test_a_second_agent_is_kept_out(tmp_path: Path, repository: TufRepository) -> None:
    assert main(init(tmp_path, repository)) == 0
    digest = assign(repository, 1)
    with subprocess.Popen([*COMMAND, "run", *config(tmp_path)], stderr=subprocess.DEVNULL) as process:
        wait_for_verified(tmp_path, process, digest)
        second = subprocess.run([*COMMAND, "run", *config(tmp_path)], capture_output=True, timeout=60, check=False)
        process.terminate()
    assert second.returncode == 2
    assert b"another agent runs here" in second.stderr
    assert b"Traceback" not in second.stderr


def test_a_runtime_of_the_devices_own_refuses_what_it_computes_differently(
    tmp_path: Path, repository: TufRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = ["--runtime", "fakes.agent_runtimes:SkewedRuntime", "--python-path", str(TESTS)]
    assert main(init(tmp_path, repository, *runtime)) == 0
    repository.add_package(package := a_package(1))
    repository.assign(assignment(DEVICE, 1, target(package)))

    assert main(["run", *config(tmp_path), "--once"]) == 1

    assert "ProbeMismatch" in capsys.readouterr().err
    report = reported(tmp_path)
    assert report is not None
    assert (report.models[0].phase, report.models[0].active) == (Phase.FAILED, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--device", "../x"], "not a device id"),
        (["--poll", "2"], "no duration"),
        (["--repository", "ftp://example.org"], "file:///"),
        (["--runtime", "nonsense"], "module:Class"),
        (["--root", "/nowhere/root.json"], "cannot be read"),
    ],
)
def test_a_wrong_set_up_says_what_and_leaves_nothing(
    tmp_path: Path, repository: TufRepository, capsys: pytest.CaptureFixture[str], change: list[str], says: str
) -> None:
    assert main(init(tmp_path, repository, *change)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert says in error
    assert not (tmp_path / "device").exists()


def test_a_root_that_is_not_signed_by_itself_is_refused(
    tmp_path: Path, repository: TufRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.root = repository.root.replace(b'"version":1', b'"version":2').replace(b'"version": 1', b'"version": 2')
    assert main(init(tmp_path, repository)) == 2
    assert "root.json" in capsys.readouterr().err


def test_every_problem_of_the_settings_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "agent.toml").write_text('device = "a b"\nrepositry = "file:///x"\npoll = 2\n')
    assert main(["run", *config(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "did you mean repository?" in error
    assert "reports is missing" in error
    assert "poll: text in quotes" in error
    assert "not a device id" in error


def test_a_model_that_is_not_active_is_named_with_those_that_are(
    tmp_path: Path, repository: TufRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(init(tmp_path, repository)) == 0
    assert main(["probe", *config(tmp_path), "nothing"]) == 2
    assert "active are: none" in capsys.readouterr().err


def test_starting_needs_no_heavy_library() -> None:
    heavy = "numpy torch git typer rich jinja2 sqlalchemy onnxruntime edgewright"
    code = f"import sys, edgewright_agent.main; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


def test_what_computes_needs_no_library_of_messages() -> None:
    code = "import sys, edgewright_agent.probing.child; print([m for m in ('pydantic', 'tuf') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"
