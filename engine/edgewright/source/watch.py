"""Calls back when files of a work folder change. Called by ``cli`` for ``edgewright watch``."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserverVFS

from edgewright.errors import SourceError

IGNORED_FOLDERS = frozenset({".git", ".edgewright", ".venv", "__pycache__"})
_CHANGES = frozenset({"created", "modified", "moved", "deleted"})
"""Opening and closing a file changes nothing."""
_POLL_SECONDS = 2
_RAISE_LIMITS = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances, or watch a smaller folder"
Warn = Callable[[str], None]


class Watch:
    """A running watch; a context manager that stops at its end."""

    def __init__(
        self, root: Path, on_change: Callable[[frozenset[str]], None], debounce: float, warn: Warn | None
    ) -> None:
        self._handler = _Handler(root.resolve())
        self._warn = warn
        self._observer: BaseObserver | None = None
        self._on_change = on_change
        self._debounce = debounce
        self._stopping = threading.Event()
        self._caller = threading.Thread(target=self._call, name="edgewright-watch", daemon=True)
        self.error: BaseException | None = None
        """What ``on_change`` raised; the watch has ended then."""
        try:
            os.scandir(self._handler.root).close()
            self._start()
        except OSError as error:
            raise SourceError(f"cannot watch {root}: {error.strerror or error}", hint=_RAISE_LIMITS) from error
        self._caller.start()

    def _start(self) -> None:
        """Start to watch; by looking from time to time where the kernel's limits are reached.

        Raises:
            OSError: Neither can be done.
        """
        try:
            self._observer = Observer()
            self._observe()
            self._check_limit()
        except OSError as error:
            self._stop_observing()
            if self._warn is None:
                raise
            self._poll(error)

    def _observe(self) -> None:
        assert self._observer is not None
        self._observer.schedule(self._handler, str(self._handler.root), recursive=True)
        self._observer.start()

    def _check_limit(self) -> None:
        """Watch one more folder, for a moment: at the limit, watchdog leaves folders out without a word.

        Raises:
            OSError: It cannot be watched.
        """
        if self._observer is None:
            return
        with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
            added = self._observer.schedule(FileSystemEventHandler(), folder)
            self._observer.unschedule(added)

    def _poll(self, error: OSError) -> None:
        """Look at the files from time to time instead, and say so."""
        assert self._warn is not None
        self._observer = PollingObserverVFS(os.lstat, _listed, polling_interval=_POLL_SECONDS)
        self._observe()
        why = error.strerror or error
        self._warn(f"{why}: files are looked at every {_POLL_SECONDS} s instead of being watched; {_RAISE_LIMITS}")

    def _stop_observing(self) -> None:
        if self._observer is not None and self._observer.is_alive():
            self._observer.stop()
            self._observer.join()

    def _follow_new_folders(self) -> None:
        """Change to looking once a new folder can no longer be watched."""
        if self._warn is None or isinstance(self._observer, PollingObserverVFS):
            return
        try:
            self._check_limit()
        except OSError as error:
            self._stop_observing()
            if not self._stopping.is_set():
                self._poll(error)

    def _call(self) -> None:
        while not self._stopping.is_set():
            changed = self._handler.take(self._debounce)
            if self._handler.take_new_folder():
                self._follow_new_folders()
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
        if self._caller.is_alive() and threading.current_thread() is not self._caller:
            self._caller.join()
        self._stop_observing()

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
        self._has_new_folder = False

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note what changed; called by the observer's thread."""
        if event.event_type not in _CHANGES or (event.is_directory and event.event_type == "modified"):
            return
        paths = {self._relative(str(path)) for path in (event.src_path, event.dest_path) if path} - {None}
        if paths:
            with self._condition:
                self._changed |= {path for path in paths if path is not None}
                self._events += 1
                self._has_new_folder |= event.is_directory and event.event_type != "deleted"
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

    def take_new_folder(self) -> bool:
        """Return whether a folder came since the last call."""
        with self._condition:
            found, self._has_new_folder = self._has_new_folder, False
            return found

    def wake(self) -> None:
        """End a wait."""
        with self._condition:
            self._is_woken = True
            self._condition.notify_all()


def _listed(folder: str | None) -> Iterator[os.DirEntry[str]]:
    """List a folder without what is ignored."""
    with os.scandir(folder) as entries:
        yield from [entry for entry in entries if entry.name not in IGNORED_FOLDERS]


def watch(
    root: Path, on_change: Callable[[frozenset[str]], None], debounce: float = 0.3, *, warn: Warn | None = None
) -> Watch:
    """Call ``on_change`` with the changed paths (relative, POSIX) after every burst of changes below ``root``.

    Calls come from one thread, never two at once; what changes during a call leads to another. Changes in .git,
    .edgewright, .venv and __pycache__ are none.

    Args:
        root: The folder.
        on_change: What to call.
        debounce: How many seconds must pass without a change before the call.
        warn: Told where the kernel watches no more folders, so that they are looked at from time to time; without it,
            that is an error.

    Raises:
        SourceError: The folder cannot be watched.
    """
    return Watch(root, on_change, debounce, warn)
