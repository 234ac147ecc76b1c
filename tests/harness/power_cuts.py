"""Power cuts: work in a forked child that kills itself with SIGKILL right before one of its durable operations.

Nothing of the child's memory survives; what it wrote does.
"""

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from edgewright_agent.durable import Disk


def in_a_child(work: Callable[[], object]) -> int:
    """Run in a forked child; returns its exit code, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the child must not run the parent's tests
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def power_cut(point: int) -> Disk:
    """A disk that takes the process down right before its operation number ``point``."""
    done: list[str] = []

    def before(operation: str) -> None:
        if len(done) == point:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(operation)

    return Disk(before, sync=lambda _: None)


def counting(operations: list[str]) -> Disk:
    """A disk that writes down its operations."""
    return Disk(operations.append, sync=lambda _: None)


def copy_home(template: Path, home: Path) -> Path:
    """Copy a device's files and links, each file an inode of its own."""
    for path in sorted(template.rglob("*")):
        made = home / path.relative_to(template)
        if path.is_symlink():
            made.parent.mkdir(parents=True, exist_ok=True)
            made.symlink_to(path.readlink())
        elif path.is_file():
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_bytes(path.read_bytes())
    return home
