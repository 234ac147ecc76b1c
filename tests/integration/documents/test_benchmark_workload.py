"""What benchmarks are measured on is what they say: everything is applied, and nothing is left to do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clients import require_client
from paths import ROOT


def _run(*arguments: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def applied(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    _run("benchmarks.workload", str(folder), "10", "6", folder=ROOT)
    return folder


def test_every_device_is_verified_and_nothing_is_to_be_done(applied: Path) -> None:
    plan = json.loads(_run("edgewright.cli.main", "plan", "--detailed-exitcode", "-o", "json", folder=applied))
    assert plan["steps"] == []
    status = json.loads(_run("edgewright.cli.main", "status", "-o", "json", folder=applied))
    rollouts = [r["rollout"]["counts"] for r in status["resources"] if r["address"].startswith("rollout/")]
    assert [{state: n for state, n in counts.items() if n} for counts in rollouts] == [{"verified": 3}, {"verified": 3}]


def test_webhooks_lead_to_plans_and_previews_and_passes_end(applied: Path) -> None:
    require_client("git-http-backend")
    answers = json.loads(_run("benchmarks.controller.hooks", str(applied), "1", "0.2", folder=ROOT))
    assert answers["taken"][0] <= answers["planned"][0]
    assert answers["previewed"][0] > 0
    assert answers["memory_mib"] > 10
    passes = json.loads(_run("benchmarks.controller.standing", str(applied), "1", folder=ROOT))
    assert {name: len(times) for name, times in passes.items()} == {
        "first": 1,
        "unchanged": 1,
        "looked": 1,
        "changed": 1,
        "started": 1,
    }


def test_devices_calls_are_measured_and_none_is_lost() -> None:
    require_client("nginx")
    page = _run("benchmarks", "--quick", "calls", folder=ROOT)
    assert "| acknowledged and lost | 0 of " in page
    assert page.count("| 200, the whole file |") == page.count("| 304, nothing new |") == 1
    assert "–" not in page.partition("## Reports")[0], "nginx was measured beside it"
