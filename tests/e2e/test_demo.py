"""The demo, as ``make demo`` runs it: every one of its claims must hold."""

import subprocess
import sys

import pytest

from paths import ROOT


@pytest.mark.e2e
@pytest.mark.xdist_group("e2e")
@pytest.mark.timeout(900)
def test_every_story_of_the_demo_comes_true() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=850
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert "What was claimed and what was seen" in done.stdout
