"""Watching a folder."""

import queue
import subprocess
import sys
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


LIMITED = """
import sys, queue
from pathlib import Path
from edgewright.source.watch import watch

root, calls = Path(sys.argv[1]), queue.Queue()
with watch(root, calls.put, debounce=0.05, warn=lambda text: print("warned", text, flush=True)):
    seen = set()
    for number in range(3):
        (root / f"d{number}/x").write_text("x")
    while not {"d0/x", "d1/x", "d2/x"} <= seen:
        seen |= calls.get(timeout=20)
    (root / "new").mkdir()
    while "new" not in seen:
        seen |= calls.get(timeout=20)
    (root / "new/y").write_text("y")
    while "new/y" not in seen:
        seen |= calls.get(timeout=20)
print("seen", flush=True)
"""


@pytest.mark.parametrize("limit", ["instances 0", "watches 2", "watches 5"])
def test_where_the_kernel_watches_no_more_folders_they_are_looked_at(tmp_path: Path, limit: str) -> None:
    for number in range(3):
        (tmp_path / f"tree/d{number}").mkdir(parents=True)
    kind, most = limit.split()
    shell = f'echo {most} > /proc/sys/user/max_inotify_{kind} && exec "$@"'
    own = ["unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace of one's own here")
    command = [*own, sys.executable, "-c", LIMITED, str(tmp_path / "tree")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    warned, seen = done.stdout.splitlines()
    assert warned.startswith(
        f"warned inotify {'instance' if kind == 'instances' else 'watch'} limit reached: files are"
    )
    assert "fs.inotify.max_user_watches" in warned
    assert seen == "seen"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot watch"):
        watch(tmp_path / "missing", lambda changed: None)
