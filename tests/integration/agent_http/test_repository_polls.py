"""A repository's timestamp is read while it is replaced."""

import os
import time
from pathlib import Path, PosixPath
from typing import Any

from edgewright.server.devices.repository_polls import Polls

PATIENCE = 20.0


class Replaced(PosixPath):
    """A file in whose place another comes right after it was opened, once."""

    successor: Path | None = None

    def open(self, *arguments: Any, **options: Any) -> Any:
        file = super().open(*arguments, **options)
        successor, Replaced.successor = Replaced.successor, None
        if successor is not None:
            os.replace(successor, self)  # noqa: PTH105 - Path.replace would give one of these
        return file


def test_a_timestamp_that_is_replaced_while_it_is_read_is_not_the_last_that_devices_hear_of(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/timestamp.json").write_bytes(b"1")
    (tmp_path / "next").write_bytes(b"2")  # of the same length
    Replaced.successor = tmp_path / "next"
    polls = Polls(Replaced(tmp_path), lambda: 1)
    polls.start()
    try:
        until = time.monotonic() + PATIENCE
        while polls.current is None or polls.current.content != b"2":
            assert time.monotonic() < until, polls.current
            time.sleep(0.02)
    finally:
        polls.close()
    assert Replaced.successor is None
