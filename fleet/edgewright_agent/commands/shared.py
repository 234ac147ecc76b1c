"""Parts that several commands share."""

import argparse
import contextlib
import fcntl
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from edgewright_agent.errors import LocalError, SettingsError

LOOK_AGAIN_SECONDS = 0.05


def runtime_options(options: argparse.Namespace) -> dict[str, Any]:
    """Take those that were given, by the keys of the settings files."""
    given = {
        "runtime": options.runtime,
        "python_path": options.python_path and [str(Path(entry).absolute()) for entry in options.python_path],
        "probe_timeout": options.probe_timeout,
    }
    return {key: value for key, value in given.items() if value is not None}


def stop_on_signals(wake: Callable[[], None] = lambda: None) -> threading.Event:
    """Make an event that SIGTERM and SIGINT set; then ``wake`` is called, from the signal handler."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


@contextlib.contextmanager
def alone(lock: Path, busy: str, wait: float = 0.0) -> Iterator[None]:
    """Keep a second process out.

    Args:
        lock: The file to lock; made where it is not there.
        busy: What to say when another process holds it.
        wait: Seconds to wait for that one to end.

    Raises:
        SettingsError: The file cannot be made.
        LocalError: Another process holds it.
    """
    try:
        file = lock.open("w")
    except OSError as error:
        raise SettingsError(f"{lock.parent}: cannot be written: {error}") from error
    until = time.monotonic() + wait
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= until:
                    raise LocalError("Busy", busy) from error
            time.sleep(LOOK_AGAIN_SECONDS)
        yield
