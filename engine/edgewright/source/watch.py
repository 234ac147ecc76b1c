"""Calls back when files of a work folder change. Called by ``cli`` for ``edgewright watch``."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from edgewright.errors import SourceError

IGNORED_FOLDERS = frozenset({".git", ".edgewright", ".venv", "__pycache__"})
_CHANGES = frozenset({"created", "modified", "moved", "deleted"})
"""Opening and closing a file changes nothing."""


class Watch:
    """A running watch; a context manager that stops at its end."""

    def __init__(self, root: Path, on_change: Callable[[frozenset[str]], None], debounce: float) -> None:
        self._handler = _Handler(root.resolve())
        self._observer = Observer()
        self._on_change = on_change
        self._debounce = debounce
        self._stopping = threading.Event()
        self._caller = threading.Thread(target=self._call, name="edgewright-watch", daemon=True)
        self.error: BaseException | None = None
        """What ``on_change`` raised; the watch has ended then."""
        try:
            self._observer.schedule(self._handler, str(self._handler.root), recursive=True)
            self._observer.start()
        except OSError as error:
            hint = "raise fs.inotify.max_user_watches, or watch a smaller folder"
            raise SourceError(f"cannot watch {root}: {error.strerror or error}", hint=hint) from error
        self._caller.start()

    def _call(self) -> None:
        while not self._stopping.is_set():
            changed = self._handler.take(self._debounce)
            if changed and not self._stopping.is_set():
                try:
                    self._on_change(changed)
                except BaseException as error:  # noqa: BLE001  # kept for the thread that waits, which raises it
                    self.error = error
                    self._stopping.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the watch is stopped, or the seconds pass; True when it was stopped.

        Raises:
            BaseException: What ``on_change`` raised.
        """
        stopped = self._stopping.wait(timeout)
        if self.error is not None:
            raise self.error
        return stopped

    def stop(self) -> None:
        """Stop, and wait for a call that is under way; stopping again does nothing."""
        self._stopping.set()
        self._handler.wake()
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
        if self._caller.is_alive() and threading.current_thread() is not self._caller:
            self._caller.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Handler(FileSystemEventHandler):
    """Collects changed paths until they have been quiet for a while."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._changed: set[str] = set()
        self._condition = threading.Condition()
        self._events = 0
        self._is_woken = False

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note what changed; called by the observer's thread."""
        if event.event_type not in _CHANGES or (event.is_directory and event.event_type == "modified"):
            return
        paths = {self._relative(str(path)) for path in (event.src_path, event.dest_path) if path} - {None}
        if paths:
            with self._condition:
                self._changed |= {path for path in paths if path is not None}
                self._events += 1
                self._condition.notify_all()

    def _relative(self, path: str) -> str | None:
        try:
            relative = Path(path).relative_to(self.root)
        except ValueError:
            return None
        return None if IGNORED_FOLDERS.intersection(relative.parts) else relative.as_posix()

    def take(self, debounce: float) -> frozenset[str]:
        """Wait for changes, then until none came for ``debounce`` seconds; empty when woken to stop."""
        with self._condition:
            self._condition.wait_for(lambda: self._changed or self._is_woken)
            seen = -1
            while seen != self._events and not self._is_woken:
                seen = self._events
                self._condition.wait_for(lambda: self._events != seen or self._is_woken, timeout=debounce)  # noqa: B023  # used before seen changes
            changed, self._changed = frozenset(self._changed), set()
            return changed

    def wake(self) -> None:
        """End a wait."""
        with self._condition:
            self._is_woken = True
            self._condition.notify_all()


def watch(root: Path, on_change: Callable[[frozenset[str]], None], debounce: float = 0.3) -> Watch:
    """Call ``on_change`` with the changed paths (relative, POSIX) after every burst of changes below ``root``.

    Calls come from one thread, never two at once; what changes during a call leads to another. Changes in .git,
    .edgewright, .venv and __pycache__ are none.

    Args:
        root: The folder.
        on_change: What to call.
        debounce: How many seconds must pass without a change before the call.

    Raises:
        SourceError: The folder cannot be watched.
    """
    return Watch(root, on_change, debounce)
