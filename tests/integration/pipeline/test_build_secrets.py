"""The repository's code is not given the tokens of the process that builds."""

import json
import threading
from pathlib import Path

import pytest

from edgewright.pipeline.executors.local import LocalExecutor
from harness.steps import dataset_task

CODE = """
import json, os, pathlib
def generate(into):
    pathlib.Path(into).write_text(json.dumps(dict(os.environ)))
    for n in range(50): yield {'x': n, 'label': 'ab'[n % 2]}
"""
HIDDEN = (
    "EDGEWRIGHT_FORGE_TOKEN",
    "EDGEWRIGHT_GIT_PASSWORD",
    "EDGEWRIGHT_WEBHOOK_SECRET",
    "EDGEWRIGHT_SECRET_SLACK_URL",
    "EDGEWRIGHT_SECRETS",
    "EDGEWRIGHT_STATE",
    "EDGEWRIGHT_KEYS",
    "GITHUB_TOKEN",
    "CI_JOB_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GIT_CONFIG_VALUE_0",
    "PGPASSWORD",
    "SSH_AUTH_SOCK",
)
SHOWN = ("AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "EDGEWRIGHT_DEVICE", "PATH")


def test_code_that_builds_sees_no_token_of_ours_but_what_it_reads_data_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*HIDDEN, *SHOWN):
        if name != "PATH":
            monkeypatch.setenv(name, "cpu" if name == "EDGEWRIGHT_DEVICE" else "hunter2")
    checkout, seen = tmp_path / "checkout", tmp_path / "seen.json"
    checkout.mkdir()
    (checkout / "frames.py").write_text(CODE)
    spec = {
        "source": {"uri": "frames.py:generate", "format": "python", "with": {"into": str(seen)}},
        "columns": {"x": {"type": "number"}, "label": {"type": "category"}},
    }
    task = dataset_task(checkout, spec, tmp_path / "work")
    LocalExecutor(threads=1).run(task, lambda moment: None, threading.Event())
    environment = json.loads(seen.read_text())
    assert not environment.keys() & set(HIDDEN)
    assert environment.keys() >= set(SHOWN)
