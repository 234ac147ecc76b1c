"""Programs of other vendors that tests run as oracles; ``tests/install-clients`` installs them."""

import os
import shutil
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
