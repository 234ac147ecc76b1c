"""Watching a folder."""

import queue
import threading
from pathlib import Path

import pytest

from edgewright.errors import SourceError
from edgewright.source.watch import watch

PATIENCE = 20.0
"""Seconds to wait for what must come."""


def test_a_burst_is_one_call_and_ignored_folders_none(tmp_path: Path) -> None:
    for folder in (".git", ".edgewright", "specs"):
        (tmp_path / folder).mkdir()
    calls: queue.Queue[frozenset[str]] = queue.Queue()
    with watch(tmp_path, calls.put, debounce=0.5) as running:
        (tmp_path / ".git/index").write_text("x")
        (tmp_path / ".edgewright/state").write_text("x")
        for number in range(20):
            (tmp_path / f"specs/{number}.yaml").write_text("x")
        changed = calls.get(timeout=PATIENCE)
        assert changed == {f"specs/{number}.yaml" for number in range(20)}
        (tmp_path / "specs/0.yaml").rename(tmp_path / "specs/moved.yaml")
        assert {"specs/0.yaml", "specs/moved.yaml"} <= calls.get(timeout=PATIENCE)
        assert not running.wait(0)
    assert calls.empty()
    assert running.wait(0)


def test_a_change_during_a_call_leads_to_another(tmp_path: Path) -> None:
    started, finish = threading.Event(), threading.Event()
    calls: queue.Queue[frozenset[str]] = queue.Queue()

    def slow(changed: frozenset[str]) -> None:
        calls.put(changed)
        started.set()
        assert finish.wait(PATIENCE)

    with watch(tmp_path, slow, debounce=0.05):
        (tmp_path / "a").write_text("x")
        assert started.wait(PATIENCE)
        (tmp_path / "b").write_text("x")
        finish.set()
        assert calls.get(timeout=PATIENCE) == {"a"}
        assert "b" in calls.get(timeout=PATIENCE)


def test_stopping_is_clean(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    running = watch(tmp_path, lambda changed: None)
    running.stop()
    running.stop()
    assert set(threading.enumerate()) <= before


def test_what_the_callback_raises_reaches_the_waiter(tmp_path: Path) -> None:
    def fail(changed: frozenset[str]) -> None:
        raise SourceError("gone")

    with watch(tmp_path, fail, debounce=0.0) as running:
        (tmp_path / "a").write_text("x")
        with pytest.raises(SourceError, match="gone"):
            running.wait(PATIENCE)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot watch"):
        watch(tmp_path / "missing", lambda changed: None)
