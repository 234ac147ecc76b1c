"""What benchmarks are measured on is what they say: everything is applied, and nothing is left to do."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def test_every_device_is_verified_and_nothing_is_to_be_done(tmp_path: Path) -> None:
    _run("benchmarks.workload", str(tmp_path), "10", "6", folder=ROOT)
    plan = json.loads(_run("edgewright.cli.main", "plan", "--detailed-exitcode", "-o", "json", folder=tmp_path))
    assert plan["steps"] == []
    status = json.loads(_run("edgewright.cli.main", "status", "-o", "json", folder=tmp_path))
    rollouts = [r["devices"] for r in status["resources"] if r["address"].startswith("rollout/")]
    assert rollouts == [{"verified": 3}, {"verified": 3}]
