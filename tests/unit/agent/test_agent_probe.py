"""Golden samples on this device's runtime: what passes, what fails, and what must not take the agent down."""

import json
from pathlib import Path

import numpy as np
import pytest

import paths
from edgewright_agent.errors import LocalError
from edgewright_agent.probing.golden import probe_slot
from edgewright_agent.probing.outcomes import ProbeOutcome
from edgewright_agent.probing.prober import ChildProber
from edgewright_agent.runtime import OnnxRuntime
from edgewright_wire.package import FILEPATH
from fakes.agent_runtimes import LackingRuntime, LinearRuntime, NanRuntime, SkewedRuntime
from samples.agent_packages import OUTPUTS, SAMPLES, PackageFiles, a_package, target

TESTS = (str(paths.TESTS),)


def a_slot(path: Path, package: PackageFiles) -> Path:
    path.mkdir()
    manifest = json.loads(package.manifest)
    for layer in manifest["layers"]:
        (path / layer["annotations"][FILEPATH]).write_bytes(package.blobs[layer["digest"]])
    (path / "manifest.json").write_bytes(package.manifest)
    marker = {"assignment": json.loads(target(package).to_bytes()), "files": []}
    (path / "release.json").write_text(json.dumps(marker))
    return path


def child(runtime: str, timeout: float = 60.0) -> ChildProber:
    return ChildProber(f"fakes.agent_runtimes:{runtime}", TESTS, timeout)


def test_a_sound_model_passes_in_onnxruntime(tmp_path: Path) -> None:
    outcome = probe_slot(a_slot(tmp_path / "slot", a_package(1, onnx=True)), OnnxRuntime())
    assert outcome.passed
    assert outcome.samples == SAMPLES
    assert outcome.max_error is not None
    assert outcome.max_error < 1e-5
    assert outcome.latency_p95_ms is not None
    assert outcome.latency_p95_ms > 0
    assert outcome.runtime.startswith("onnxruntime 1.")


def test_a_device_that_computes_something_else_fails_with_the_figures(tmp_path: Path) -> None:
    outcome = probe_slot(a_slot(tmp_path / "slot", a_package(1)), SkewedRuntime())
    assert (outcome.passed, outcome.reason) == (False, "ProbeMismatch")
    assert outcome.max_error == pytest.approx(0.5, abs=1e-3)
    assert "0.5" in outcome.message
    assert "0.001" in outcome.message


def test_an_error_within_the_tolerance_passes(tmp_path: Path) -> None:
    package = a_package(1, expected=np.zeros((SAMPLES, OUTPUTS), np.float32), atol="1000")
    assert probe_slot(a_slot(tmp_path / "slot", package), LinearRuntime()).passed


def test_not_a_number_is_a_failure_and_never_a_figure(tmp_path: Path) -> None:
    outcome = probe_slot(a_slot(tmp_path / "slot", a_package(1, atol="1000000")), NanRuntime())
    assert (outcome.passed, outcome.max_error) == (False, None)
    assert "finite" in outcome.message


def test_a_nan_in_the_golden_samples_does_not_pass(tmp_path: Path) -> None:
    expected = np.full((SAMPLES, OUTPUTS), np.nan, np.float32)
    assert not probe_slot(a_slot(tmp_path / "slot", a_package(1, expected=expected)), LinearRuntime()).passed


def test_outputs_of_another_shape_fail(tmp_path: Path) -> None:
    expected = np.zeros((SAMPLES, OUTPUTS + 1), np.float32)
    outcome = probe_slot(a_slot(tmp_path / "slot", a_package(1, expected=expected, atol="9999")), LinearRuntime())
    assert (outcome.passed, outcome.reason) == (False, "ProbeMismatch")
    assert "shape" in outcome.message


def test_a_device_that_lacks_an_operator_says_incompatible(tmp_path: Path) -> None:
    outcome = probe_slot(a_slot(tmp_path / "slot", a_package(1)), LackingRuntime())
    assert (outcome.passed, outcome.reason) == (False, "Incompatible")
    assert "FancyConv" in outcome.message


@pytest.mark.parametrize("model", [b"", b"this is no model"])
def test_a_broken_model_is_refused_by_onnxruntime(tmp_path: Path, model: bytes) -> None:
    outcome = probe_slot(a_slot(tmp_path / "slot", a_package(1, model=model)), OnnxRuntime())
    assert (outcome.passed, outcome.reason) == (False, "LoadFailed")


def test_no_golden_samples_is_no_proof(tmp_path: Path) -> None:
    slot = a_slot(tmp_path / "slot", a_package(1))
    np.savez(slot / "golden.npz", input=np.zeros((0, 4), np.float32), expected=np.zeros((0, 3), np.float32))
    outcome = probe_slot(slot, LinearRuntime())
    assert (outcome.passed, outcome.reason) == (False, "InvalidPackage")


def test_golden_samples_cannot_carry_code(tmp_path: Path) -> None:
    slot = a_slot(tmp_path / "slot", a_package(1))
    bad = np.array([{"a": 1}], dtype=object)
    np.savez(slot / "golden.npz", input=bad, expected=bad)
    assert probe_slot(slot, LinearRuntime()).reason == "InvalidPackage"


def test_a_probe_in_its_own_process_gives_the_same(tmp_path: Path) -> None:
    slot = a_slot(tmp_path / "slot", a_package(1))
    outcome = child("ChattyRuntime").probe(slot)
    assert outcome.passed, outcome
    assert outcome.runtime == "ChattyRuntime 1.0"


def test_a_crash_of_the_runtime_is_a_failed_probe(tmp_path: Path) -> None:
    outcome = child("CrashingRuntime").probe(a_slot(tmp_path / "slot", a_package(1)))
    assert (outcome.passed, outcome.reason) == (False, "ProbeCrashed")
    assert "SIGSEGV" in outcome.message


def test_a_runtime_that_takes_too_much_memory_is_a_failed_probe_and_the_first_to_go(tmp_path: Path) -> None:
    slot, runtime = a_slot(tmp_path / "slot", a_package(1)), "fakes.agent_runtimes:HungryRuntime"
    enough = ChildProber(runtime, TESTS, memory=2 << 30).probe(slot)
    assert (enough.passed, enough.runtime) == (True, "1000")
    less = ChildProber(runtime, TESTS, memory=300 << 20).probe(slot)
    assert (less.passed, less.reason) == (False, "LoadFailed")
    assert "MemoryError" in less.message


def test_a_runtime_that_hangs_is_a_failed_probe(tmp_path: Path) -> None:
    outcome = child("HangingRuntime", timeout=1.5).probe(a_slot(tmp_path / "slot", a_package(1)))
    assert (outcome.passed, outcome.reason) == (False, "ProbeTimeout")
    assert "1.5 s" in outcome.message


def test_an_agent_that_is_stopped_does_not_judge_the_model(tmp_path: Path) -> None:
    prober = ChildProber("fakes.agent_runtimes:HangingRuntime", TESTS, 60.0, stopped=lambda: True)
    with pytest.raises(LocalError, match="stopped"):
        prober.probe(a_slot(tmp_path / "slot", a_package(1)))


def test_a_runtime_that_is_not_there_is_named(tmp_path: Path) -> None:
    outcome = child("NoSuchRuntime").probe(a_slot(tmp_path / "slot", a_package(1)))
    assert not outcome.passed
    assert "NoSuchRuntime" in outcome.message


def test_an_outcome_survives_the_way_between_processes() -> None:
    outcome = ProbeOutcome(False, 3, 0.1, "x 1", 0.25, None, "ProbeMismatch", "differs")
    assert ProbeOutcome.from_json(outcome.to_json()) == outcome
