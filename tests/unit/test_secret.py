"""Secrets: found where they are put, and shown to nobody."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.errors import EdgewrightError
from edgewright.secret import Secret, from_variable, named, redact


def test_a_secret_comes_from_a_variable_or_the_file_it_names(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc\n")
    assert from_variable("T", {}) is None
    assert from_variable("T", {"T": " abc "}) == Secret("abc")
    assert from_variable("T", {"T_FILE": str(file)}) == Secret("abc")
    with pytest.raises(EdgewrightError, match="T is empty"):
        from_variable("T", {"T": " "})
    with pytest.raises(EdgewrightError, match="cannot read T_FILE"):
        from_variable("T", {"T_FILE": str(tmp_path / "missing")})


def test_secrets_that_specs_name_are_looked_for_in_variables_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "ops-url").write_text("https://example.com/hook\n")
    assert named("ops-url", {"EDGEWRIGHT_SECRETS": str(tmp_path)}).reveal() == "https://example.com/hook"
    both = {"EDGEWRIGHT_SECRETS": str(tmp_path), "EDGEWRIGHT_SECRET_OPS_URL": "https://example.com/other"}
    assert named("ops-url", both).reveal() == "https://example.com/other"
    with pytest.raises(EdgewrightError, match="no secret 'nobody'") as failed:
        named("nobody", both)
    assert "EDGEWRIGHT_SECRET_NOBODY" in failed.value.hint


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert redact("fatal: hunter2@host refused", [secret, None]) == "fatal: ***@host refused"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_a_process_can_keep_its_memory_from_others_of_the_same_user() -> None:
    program = (
        "import ctypes; from edgewright.secret import keep_from_siblings; keep_from_siblings(); "
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "0"
