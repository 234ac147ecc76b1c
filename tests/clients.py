"""What tests need of the machine: programs of other vendors, which ``tests/install-clients`` installs, and root."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SERVERS = ("/usr/sbin", "/usr/lib/git-core")
"""Where Debian keeps servers and git's own programs; not on an ordinary user's path."""


def require_client(name: str) -> str:
    """Find a program. Without it a test is skipped on a desk, and fails in CI, where nothing may go unproved.

    Returns:
        Its path.
    """
    folders = [os.environ.get("PATH", os.defpath), *_SERVERS, *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is not None:
        return path
    reason = f"{name} is not installed; run tests/install-clients as root on Debian or Ubuntu"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def require_root(to: str, *probe: str) -> None:
    """Skip a test that only root can run, on a machine that lets root do it; in CI, root that may not is a failure.

    Args:
        to: What for, like ``make network namespaces``.
        probe: A command that works exactly where that is allowed, and leaves nothing behind.
    """
    if os.geteuid() != 0:
        pytest.skip(f"only root can {to}")
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return
    reason = f"this machine does not let root {to}: {tried.stderr.strip()}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
