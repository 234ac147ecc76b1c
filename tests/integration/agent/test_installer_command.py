"""``edgewright-agent install`` and its like as another update system's script runs them: processes of their own, real
onnxruntime.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import paths
from edgewright_agent.handle import ModelHandle
from edgewright_agent.main import main
from edgewright_wire.evidence import Evidence, InstalledEvidence
from edgewright_wire.messages import Phase
from samples.agent_packages import FEATURES, MODEL, a_package, target, weights
from samples.agent_payloads import write_payload

COMMAND = [sys.executable, "-m", "edgewright_agent"]
TESTS = str(paths.TESTS)


def payload(tmp_path: Path, version: int, *, onnx: bool = True) -> list[str]:
    package = a_package(version, onnx=onnx)
    return ["--from", str(write_payload(tmp_path / f"payload-{version}", package, target(package)))]


def root(tmp_path: Path) -> list[str]:
    return ["--dir", str(tmp_path / "root")]


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=120, check=False)
    assert b"Traceback" not in done.stderr
    return done


def serves(tmp_path: Path, version: int) -> None:
    inputs = np.ones((2, FEATURES), np.float32)
    np.testing.assert_allclose(
        ModelHandle(tmp_path / "root", MODEL).run(inputs), inputs @ weights(version), rtol=1e-5, atol=1e-6
    )


def test_install_update_look_roll_back_and_remove(tmp_path: Path) -> None:
    file = tmp_path / "root" / "evidence.json"
    first = run("install", *root(tmp_path), *payload(tmp_path, 1), "--nonce", "order-1", "--evidence", str(file))
    assert first.returncode == 0, first.stderr
    evidence = Evidence.from_bytes(first.stdout)
    assert (evidence.nonce, evidence.model.phase) == ("order-1", Phase.VERIFIED)
    assert evidence.model.probe is not None
    assert evidence.model.probe.runtime.startswith("onnxruntime 1.")
    assert first.stdout == evidence.to_bytes() + b"\n" == file.read_bytes()

    second = run("install", *root(tmp_path), *payload(tmp_path, 2))
    assert second.returncode == 0
    serves(tmp_path, 2)
    looked = run("installed", *root(tmp_path), "--nonce", "look")
    installed = InstalledEvidence.from_bytes(looked.stdout)
    assert (looked.returncode, installed.nonce) == (0, "look")
    assert installed.models == (Evidence.from_bytes(second.stdout).model,)
    assert run("installed", *root(tmp_path), "--probe").returncode == 0

    back = run("rollback", *root(tmp_path), MODEL)
    assert (back.returncode, Evidence.from_bytes(back.stdout).model.verified) == (0, evidence.model.verified)
    serves(tmp_path, 1)
    gone = run("uninstall", *root(tmp_path), MODEL, "--evidence", str(file), "--nonce", "gone")
    assert (gone.returncode, Evidence.from_bytes(file.read_bytes()).nonce) == (0, "gone")
    assert InstalledEvidence.from_bytes(run("installed", *root(tmp_path)).stdout).models == ()


@pytest.mark.parametrize(
    ("runtime", "reason"), [("SkewedRuntime", "ProbeMismatch"), ("CrashingRuntime", "ProbeCrashed")]
)
def test_a_device_that_computes_wrong_or_crashes_refuses(tmp_path: Path, runtime: str, reason: str) -> None:
    own = ["--runtime", "fakes.agent_runtimes:LinearRuntime", "--python-path", TESTS]
    assert run("install", *root(tmp_path), *payload(tmp_path, 1, onnx=False), *own).returncode == 0

    own[1] = f"fakes.agent_runtimes:{runtime}"
    refused = run("install", *root(tmp_path), *payload(tmp_path, 2, onnx=False), *own)
    report = Evidence.from_bytes(refused.stdout).model
    assert (refused.returncode, report.phase, report.reason) == (1, Phase.FAILED, reason)
    assert report.active == report.verified == a_package(1).digest


def test_the_devices_runtime_is_named_once_for_orders_and_applications(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    settings = f'runtime = "fakes.agent_runtimes:LinearRuntime"\npython_path = ["{TESTS}"]\nprobe_timeout = "30s"\n'
    (tmp_path / "root" / "installer.toml").write_text(settings)
    done = run("install", *root(tmp_path), *payload(tmp_path, 1, onnx=False))
    probe = Evidence.from_bytes(done.stdout).model.probe
    assert probe is not None
    assert probe.runtime == "LinearRuntime 1.0"
    serves(tmp_path, 1)


def test_a_model_that_hangs_is_refused_in_time_and_a_second_order_waits_its_turn(tmp_path: Path) -> None:
    hanging = ["--runtime", "fakes.agent_runtimes:HangingRuntime", "--python-path", TESTS, "--probe-timeout", "3s"]
    with subprocess.Popen(
        [*COMMAND, "install", *root(tmp_path), *payload(tmp_path, 1), *hanging], stdout=subprocess.PIPE
    ) as hangs:
        lock = tmp_path / "root" / "installer.json"
        until = time.monotonic() + 60
        while not lock.exists():
            assert time.monotonic() < until
            os.sched_yield()
        second = run("install", *root(tmp_path), *payload(tmp_path, 2))
        stdout, _ = hangs.communicate(timeout=60)
    assert hangs.returncode == 1
    assert Evidence.from_bytes(stdout).model.reason == "ProbeTimeout"
    assert second.returncode == 0
    serves(tmp_path, 2)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_an_order_that_is_ended_leaves_the_old_model_and_can_be_given_again(
    tmp_path: Path, ending: signal.Signals
) -> None:
    assert run("install", *root(tmp_path), *payload(tmp_path, 1)).returncode == 0
    order = payload(tmp_path, 2)
    hanging = ["--runtime", "fakes.agent_runtimes:HangingRuntime", "--python-path", TESTS, "--probe-timeout", "60s"]
    with subprocess.Popen([*COMMAND, "install", *root(tmp_path), *order, *hanging], stdout=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while not list((tmp_path / "root").glob("models/*/slots/b/release.json")):
            assert time.monotonic() < until
            os.sched_yield()
        process.send_signal(ending)
        stdout, _ = process.communicate(timeout=30)
    if ending is signal.SIGTERM:
        assert (process.returncode, Evidence.from_bytes(stdout).model.reason) == (1, "Stopped")
    serves(tmp_path, 1)
    assert run("install", *root(tmp_path), *order).returncode == 0
    serves(tmp_path, 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["install", "--from", "/nowhere"], "no payload"),
        (["uninstall", "../escape"], "is not a model's name"),
        (["rollback", "Upper Case"], "is not a model's name"),
        (["installed", "--evidence", "/nowhere/at/all.json"], "there is no directory"),
        (["installed", "--nonce", "n" * 300], "at most 256"),
        (["installed", "--runtime", "nonsense"], "module:Class"),
        (["installed", "--probe-timeout", "0s"], "no duration"),
    ],
)
def test_wrong_use_says_what_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main([*arguments, *root(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert says in output.err
    assert not (tmp_path / "root").exists()


def test_the_directory_of_an_agent_is_left_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "agent.toml").write_text("")
    assert main(["install", *root(tmp_path), *payload(tmp_path, 1)]) == 2
    assert "an agent looks after this directory" in capsys.readouterr().err


def test_a_wrong_installer_toml_is_told_with_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "installer.toml").write_text('runtme = "a:B"\nprobe_timeout = 5\n')
    assert main(["installed", *root(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "did you mean runtime?" in error
    assert "probe_timeout: text in quotes" in error


def test_an_order_needs_no_network_library() -> None:
    """A device that SSH or SWUpdate updates starts this for every order, on whatever processor it has."""
    heavy = "numpy onnxruntime tuf cryptography urllib3 securesystemslib edgewright"
    code = (
        "import sys; from edgewright_agent.main import main; main(['installed', '--dir', '/nowhere/at/all']);"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.splitlines()
    assert json.loads(lines[0])["models"] == []
    assert lines[1] == b"[]"
