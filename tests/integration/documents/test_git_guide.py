"""The worked examples of docs/how-to/follow-git.md, run as they are written."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import require_client
from edgewright.core.signatures import SignatureState
from edgewright.source.local import LocalUpstream
from paths import ROOT
from samples.repositories import FILES, commit, make_repository, run_git, write

GUIDE = (ROOT / "docs/how-to/follow-git.md").read_text()
YAML, SSH, GPG = re.findall(r"^```(?:yaml|sh)\n(.*?)^```$", GUIDE, re.M | re.S)


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    (folder / ".gnupg").mkdir(mode=0o700)
    yield folder
    subprocess.run(["gpgconf", "--homedir", str(folder / ".gnupg"), "--kill", "all"], check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(("script", "unused"), [(SSH, "gpg"), (GPG, "ssh")])
def test_a_key_is_trusted_as_the_guide_says(tmp_path: Path, home: Path, script: str, unused: str) -> None:
    require_client("gpg")
    rules = "".join(line for line in YAML.splitlines(keepends=True) if not line.strip().startswith(f"{unused}:"))
    work = make_repository(tmp_path / "work", {**FILES, "edgewright.yaml": rules})
    run_git(work, "config", "user.name", "Ada")
    run_git(work, "config", "user.email", "ada@example.com")
    variables = {**os.environ, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    variables.pop("GNUPGHOME", None)
    subprocess.run(["bash", "-e", "-c", script], cwd=work, env=variables, check=True, capture_output=True)
    upstream = LocalUpstream(work, tmp_path / "state", cache=None)
    revision = upstream.resolve(None)
    assert upstream.check(None, revision, None).state is SignatureState.GOOD
    write(work, {"note.txt": "unsigned"})
    run_git(work, "config", "commit.gpgSign", "false")
    assert upstream.check(None, commit(work), revision).state is SignatureState.MISSING
    upstream.close()
