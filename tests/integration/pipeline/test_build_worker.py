"""The worker process: results, errors, progress, cancelling, and what happens when either side dies."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its stubs are another distribution, for this one test
import pytest

from edgewright.errors import Cancelled, EdgewrightError, StepFailed, StorageFull, Transient, UserCodeFailed
from edgewright.pipeline.executors.local import LOG, LocalExecutor
from edgewright.pipeline.runner.tasks import StagedTask
from edgewright.ports import Built, Progress
from harness.steps import dataset_task
from paths import TESTS

BODY = "import os, sys, time, signal, subprocess, threading\ndef generate(**options):\n"
ROWS = "    for n in range(50): yield {'x': n, 'label': 'ab'[n % 2]}\n"


def task_of(tmp_path: Path, body: str, **options: Any) -> StagedTask:
    checkout = tmp_path / "checkout"
    checkout.mkdir(exist_ok=True)
    (checkout / "frames.py").write_text(BODY + body)
    spec = {
        "source": {"uri": "frames.py:generate", "format": "python", "with": options},
        "columns": {"x": {"type": "number"}, "label": {"type": "category"}},
    }
    return dataset_task(checkout, spec, tmp_path / "work")


def build(task: StagedTask, progress: Callable[[Progress], None] = lambda moment: None) -> Built[Any]:
    return LocalExecutor(threads=1).run(task, progress, threading.Event())


def error_of(task: StagedTask) -> EdgewrightError:
    with pytest.raises(EdgewrightError) as caught:
        build(task)
    return caught.value


def test_a_build_gives_files_facts_and_progress(tmp_path: Path) -> None:
    moments: list[Progress] = []
    built = build(task_of(tmp_path, ROWS), moments.append)
    assert sum(built.facts.rows.values()) == 50
    assert all(path.is_file() and path.is_relative_to(tmp_path / "work" / "out") for path in built.files.values())
    assert moments and moments[0].unit == "row" and moments[0].address.name == "goods"
    assert [m.done for m in moments] == sorted(m.done for m in moments)
    assert set(built.environment) == {"numpy", "pillow", "pyarrow"}


def test_a_repeated_build_gives_the_same_digest(tmp_path: Path) -> None:
    assert build(task_of(tmp_path, ROWS)).digest == build(task_of(tmp_path, ROWS)).digest


def test_what_user_code_prints_goes_to_the_log_and_nowhere_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prints = '    print(\'{"progress": 1}\'); print("to stderr", file=sys.stderr)\n    os.system("echo from a shell")\n'
    build(task_of(tmp_path, prints + ROWS))
    log = (tmp_path / "work" / LOG).read_text()
    assert '{"progress": 1}' in log and "to stderr" in log and "from a shell" in log
    out, err = capfd.readouterr()
    assert out == err == ""


def test_the_error_of_a_step_comes_back_as_its_class(tmp_path: Path) -> None:
    error = error_of(task_of(tmp_path, "    raise ValueError('no frames today')\n"))
    assert type(error) is UserCodeFailed
    assert error.message == "ValueError: no frames today in frames.py:3 (generate)"
    assert error.hint == "frames.py:3 in generate: raise ValueError('no frames today')"


@pytest.mark.parametrize(
    ("body", "class_", "message"),
    [
        ("    os._exit(7)\n", StepFailed, "ended with exit code 7 and without a result"),
        ("    os.kill(os.getpid(), signal.SIGKILL)\n", Transient, "was killed (SIGKILL)"),
        ("    os.kill(os.getpid(), signal.SIGSEGV)\n", Transient, "was ended by SIGSEGV"),
        ("    raise MemoryError\n", Transient, "ran out of memory"),
    ],
)
def test_a_worker_that_dies(tmp_path: Path, body: str, class_: type[EdgewrightError], message: str) -> None:
    error = error_of(task_of(tmp_path, "    print('last words')\n" + body))
    assert type(error) is class_
    assert message in error.message
    if "SIGSEGV" in message or "exit code" in message:
        assert error.hint == "last words"


def test_a_full_disk_is_storage_full(tmp_path: Path) -> None:
    # No file of this process may pass 4 KiB: what a full disk looks like, without filling one.
    limit = "    import resource\n    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    rows = "    for n in range(5000): yield {'x': n, 'label': 'ab'[n % 2] + str(n)}\n"
    error = error_of(task_of(tmp_path, limit + rows))
    assert type(error) is StorageFull
    assert "make space" in error.hint


def test_a_work_folder_that_cannot_be_made_is_storage_full(tmp_path: Path) -> None:
    task = task_of(tmp_path, ROWS)
    (tmp_path / "work").write_text("in the way")
    assert type(error_of(task)) is StorageFull


def test_cancelling_ends_the_worker_and_all_it_started(tmp_path: Path) -> None:
    # The user's process and its own child ignore SIGTERM; the first row comes once both run.
    body = (
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    open(os.path.join(options['at'], 'pids'), 'w').write(f'{os.getpid()} {child.pid}')\n"
        "    yield {'x': 1, 'label': 'a'}\n"
        "    time.sleep(600)\n"
    )
    task = task_of(tmp_path, body, at=str(tmp_path))
    cancel = threading.Event()
    builder = LocalExecutor(threads=1, grace_seconds=0.2)
    with pytest.raises(Cancelled, match="build-dataset of dataset/goods was cancelled"):
        builder.run(task, lambda moment: cancel.set(), cancel)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    _, alive = psutil.wait_procs([psutil.Process(p) for p in pids if psutil.pid_exists(p)], timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_cancelled_task_does_not_start(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        LocalExecutor().run(task_of(tmp_path, ROWS), lambda moment: None, cancel)
    assert not (tmp_path / "work").exists()


PARENT = """
import sys, threading
from pathlib import Path
from harness.steps import dataset_task
from edgewright.pipeline.executors.local import LocalExecutor
import json
task = dataset_task(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
LocalExecutor(threads=1).run(task, lambda moment: print(moment.done, flush=True), threading.Event())
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    body = (
        "    open(os.path.join(options['at'], 'pid'), 'w').write(str(os.getpid()))\n"
        "    yield {'x': 1, 'label': 'a'}\n"
        "    time.sleep(600)\n"
    )
    task = task_of(tmp_path, body, at=str(tmp_path))
    arguments = [str(task.checkout), json.dumps(dict(task.spec)), str(task.workdir)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == b"1\n"
        worker = psutil.Process(int((tmp_path / "pid").read_text()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _, alive = psutil.wait_procs([worker], timeout=20)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_source_beside_the_commit_is_found_in_the_work_tree(tmp_path: Path) -> None:
    task = task_of(tmp_path, ROWS)
    (tmp_path / "ignored.csv").write_text("x,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(50)))
    spec = {**task.spec, "source": {"uri": "ignored.csv", "format": "csv", "follow": True}}
    builder = LocalExecutor(threads=1, folders=[tmp_path])
    again = dataset_task(task.checkout, spec, task.workdir)
    built: Built[Any] = builder.run(again, lambda moment: None, threading.Event())
    assert sum(built.facts.rows.values()) == 50


def test_the_checkout_cannot_shadow_the_engine(tmp_path: Path) -> None:
    task = task_of(tmp_path, ROWS)
    (task.checkout / "edgewright").mkdir()
    (task.checkout / "edgewright" / "__init__.py").write_text("raise SystemExit('shadowed')")
    (task.checkout / "json.py").write_text("raise SystemExit('shadowed')")
    assert build(task).digest
    assert not list(task.checkout.rglob("__pycache__"))


def test_steps_with_files_of_the_same_name_do_not_mix(tmp_path: Path) -> None:
    task = task_of(tmp_path, ROWS)
    for folder, value in (("a", 10), ("b", 100)):
        (task.checkout / folder).mkdir()
        (task.checkout / folder / "helpers.py").write_text(f"BY = {value}\n")
        (task.checkout / folder / "steps.py").write_text(
            "from helpers import BY\ndef scale(row):\n    return {**row, 'x': row['x'] * BY}\n"
        )
    spec = {
        **task.spec,
        "steps": [{"use": "a/steps.py:scale"}, {"use": "b/steps.py:scale"}],
        "split": {"train": 1, "validation": 0, "test": 0},
        "checks": [{"column": "x", "value": {"max": 49_000}}, {"rows": {"min": 50}}],
    }
    build(dataset_task(task.checkout, spec, task.workdir))
    too_low = {**spec, "checks": [{"column": "x", "value": {"max": 48_999}}]}
    assert "49000" in str(error_of(dataset_task(task.checkout, too_low, task.workdir)))


def test_a_build_after_a_killed_one_comes_to_the_same(tmp_path: Path) -> None:
    whole = build(task_of(tmp_path, ROWS)).digest
    half = ROWS.replace("yield", "os.kill(os.getpid(), signal.SIGKILL) if n == 25 else None; yield")
    assert type(error_of(task_of(tmp_path, half))) is Transient
    assert not (tmp_path / "work" / "result.json").exists()
    again = build(task_of(tmp_path, ROWS))
    assert again.digest == whole
    assert {path.name for path in (tmp_path / "work" / "out").iterdir()} == set(again.files)


def test_workers_are_forked_by_one_server_that_ends_with_its_executor(tmp_path: Path) -> None:
    body = "    open(os.path.join(options['at'], 'parents'), 'a').write(f'{os.getppid()} ')\n"
    task = task_of(tmp_path, body + ROWS, at=str(tmp_path))
    executor = LocalExecutor(threads=1)
    digests = {executor.run(task, lambda moment: None, threading.Event()).digest for _ in range(2)}
    (server,) = {psutil.Process(int(pid)) for pid in (tmp_path / "parents").read_text().split()}
    assert len(digests) == 1 and server.ppid() == os.getpid()
    del executor
    gone, _ = psutil.wait_procs([server], timeout=20)
    assert gone == [server]


def test_a_worker_whose_server_was_killed_is_tried_again_with_another(tmp_path: Path) -> None:
    once = (
        "    if not os.path.exists(os.path.join(options['at'], 'killed')):\n"
        "        open(os.path.join(options['at'], 'killed'), 'w').write(str(os.getpid()))\n"
        "        os.kill(os.getppid(), signal.SIGKILL)\n"
        "        time.sleep(600)\n"
    )
    task = task_of(tmp_path, once + ROWS, at=str(tmp_path))
    executor = LocalExecutor(threads=1)
    with pytest.raises(Transient, match=r"was killed \(SIGKILL\)"):
        executor.run(task, lambda moment: None, threading.Event())
    pid = int((tmp_path / "killed").read_text())
    _, alive = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=20)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert executor.run(task, lambda moment: None, threading.Event()).digest


def test_without_a_fork_server_workers_are_started_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked = build(task_of(tmp_path, ROWS))
    monkeypatch.setattr("edgewright.pipeline.executors.local.SUPPORTED", False)
    assert build(task_of(tmp_path, ROWS)).digest == forked.digest


def test_what_the_server_imports_starts_no_thread(tmp_path: Path) -> None:
    """A thread is not forked with its process; who waits for it, or for a lock it holds, waits for ever."""
    code = (
        "import os\nos.environ['OPENBLAS_NUM_THREADS'] = '1'\n"
        "from edgewright.pipeline.runner import fork_server, preloading\n"
        "for modules in preloading.MODULES.values(): fork_server.preload(modules)\n"
        "names = [open(f'/proc/self/task/{task}/comm').read().strip() for task in os.listdir('/proc/self/task')]\n"
        "print(*sorted(names), sep=',')\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    threads = printed.strip().split(",")
    # pyarrow's allocator starts its own thread anew in a forked process.
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1
