"""Programs of other vendors that tests run as oracles; ``tests/install-clients`` installs them."""

import os
import shutil

import pytest


def require_client(name: str) -> str:
    """Find a program. Without it a test is skipped on a desk, and fails in CI, where nothing may go unproved.

    Returns:
        Its path.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    reason = f"{name} is not installed; run tests/install-clients as root on Debian or Ubuntu"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
