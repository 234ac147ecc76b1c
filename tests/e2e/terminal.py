"""A shell that runs what a README tells its readers to type. Used by the tests of examples and documentation."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

_BLOCK = re.compile(r"^```(?:bash|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> list[str]:
    """Every block of shell commands of a Markdown file, in order."""
    return _BLOCK.findall(document.read_text("utf-8"))


class Terminal:
    """One bash in a session of its own: a folder, a variable or a background job lasts from one block to the next.

    Args:
        folder: Where it starts.
        environment: All it sees; ``HOME`` should be a folder of the test.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._mark = uuid4().hex
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        # Its end is told as well: background jobs keep the pipe open after it.
        self._write(f"trap 'echo; echo {self._mark} $?' EXIT\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()

    def type(self, block: str, scratch: Path) -> str:
        """Run a block of commands and return all it printed.

        Args:
            block: The commands.
            scratch: A file to keep them in, so that no command takes the next ones for its input.

        Raises:
            AssertionError: A command of it failed, which ends the shell.
        """
        scratch.write_text(block, "utf-8")
        self._write(f". {shlex.quote(str(scratch))} </dev/null; echo; echo {self._mark} 0\n")
        assert self._bash.stdout is not None
        printed: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(self._mark):
                code = line.split()[1]
                text = "".join(printed)
                assert code == "0", f"exit code {code} in\n{block}\n{text}"
                return text
            printed.append(line)
        raise AssertionError(f"the shell was killed in\n{block}\n{''.join(printed)}")

    def _write(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text)
        self._bash.stdin.flush()
