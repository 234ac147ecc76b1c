"""The scripts that devices run, in real shells: whatever files are called, and whatever is there already."""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from clients import require_client
from edgewright.delivery.pushed.ssh import inspection, scripts
from edgewright_schemas.delivery import Restart
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.markers import SlotFile, SlotMarker
from edgewright_wire.messages import Blob, ModelAssignment

HOSTILE = ("$(touch pwned)", "a'b\"c", "-rf", "`id`", "; exit 0 #", "ü name", "*", "\\", "&&", "!!")
SHELLS = ("sh", "bash", "busybox")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> "Shell":
    return Shell(request.param, tmp_path)


class Shell:
    """Runs scripts as a device's shell does; ``busybox`` has nothing but its own programs."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.path = os.defpath
        self.words = [require_client(name), "-c"]
        if name == "busybox":
            programs = folder / "busybox"
            programs.mkdir()
            subprocess.run([self.words[0], "--install", "-s", programs], check=True)
            self.path, self.words = str(programs), [str(programs / "sh"), "-c"]

    def __call__(self, script: str, send: bytes = b"", **extra: str) -> "subprocess.CompletedProcess[bytes]":
        environment = {"PATH": self.path, "HOME": str(self.folder / "home"), **extra}
        return subprocess.run(
            [*self.words, scripts.command(script)],
            input=send,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
            timeout=60,
        )

    def text(self, script: str, send: bytes = b"", **extra: str) -> str:
        return self(script, send, **extra).stdout.decode()


def target(version: int = 1, model: str = "reader") -> ModelAssignment:
    return ModelAssignment(
        model=model, package=Blob(digest=digest_bytes(b"%d" % version), size=1), release=f"r{version}"
    )


def marker(assignment: ModelAssignment, files: dict[str, bytes]) -> str:
    listed = tuple(SlotFile(name=name, size=len(data)) for name, data in files.items())
    return SlotMarker(assignment=assignment, files=listed).to_bytes().decode()


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def named(data: bytes) -> str:
    return hex_of(digest_bytes(data))


def inspect(shell: Shell, root: Path, *, make: bool = True) -> inspection.DeviceInspection:
    found = inspection.parse_inspection(shell.text(scripts.inspect(str(root), ("agent",), proves=False, make=make)))
    assert found is not None
    return found


def stage(shell: Shell, root: Path, slot: str, files: dict[str, bytes], wanted: ModelAssignment) -> str:
    links = [(name, named(data)) for name, data in files.items()]
    brought = [(digest, (digest,)) for digest in {named(data) for data in files.values()}]
    filling = scripts.fill_slot(str(root), str(root), wanted.model, slot, links, marker(wanted, files))
    script = scripts.receive(str(root), brought, (), filling, unpack=True)
    return shell.text(script, tar({named(data): data for data in files.values()}))


def test_any_file_name_arrives_as_it_is_called(shell: Shell) -> None:
    root = shell.folder / "root of $(touch pwned) 'it'"
    files = {name: name.encode() for name in HOSTILE}
    inspect(shell, root)

    said = stage(shell, root, "a", files, target())
    assert inspection.has_answer(said, "staged"), said
    said = shell.text(scripts.switch(str(root), "reader", "a", "", marker(target(), files), None, ()))
    assert inspection.has_answer(said, "switched"), said

    active = root / "models/reader/active"
    assert {path.name: path.read_bytes() for path in active.iterdir() if path.name != "release.json"} == files
    slot = inspect(shell, root, make=False).active("reader")
    assert slot is not None
    assert (slot.marker.assignment, slot.whole) == (target(), True)
    assert not list(shell.folder.rglob("pwned"))
    assert sorted(path.name for path in root.iterdir()) == ["blobs", "models"], "no lock and no leftovers stay"


def test_names_that_lead_elsewhere_are_refused() -> None:
    for name in ("", ".", "..", "a/b", "../../etc/passwd", "a\nb", "a\0b"):
        with pytest.raises(scripts.ScriptError):
            scripts.fill_slot("/root", "/root", "reader", "a", [(name, "0" * 64)], "{}")
        with pytest.raises(scripts.ScriptError):
            scripts.remove("/root", name)
    many = [(f"file-{number}", "0" * 64) for number in range(2000)]
    with pytest.raises(scripts.ScriptError, match="so many files"):
        scripts.command(scripts.stage_payload(1, many))


def test_other_bytes_than_promised_never_become_blobs(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    right, wrong = named(b"right"), named(b"what was promised")
    script = scripts.receive(str(root), [(right, (right,)), (wrong, (wrong,))], (), "", unpack=True)
    said = shell.text(script, tar({right: b"right", wrong: b"something else"}))

    assert inspection.parse_damaged(said) == {wrong}
    assert not inspection.has_answer(said, "staged")
    found = inspect(shell, root)
    assert found.blobs == {}
    assert found.incoming == {right: 5}, "what is right is not brought again"


def test_a_blob_that_changed_on_the_disk_is_found_before_it_is_used(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    kept = named(b"kept")
    (root / "blobs" / kept).write_bytes(b"KEPT")
    said = shell.text(scripts.receive(str(root), (), (kept,), "", unpack=False))
    assert inspection.parse_damaged(said) == {kept}
    assert inspect(shell, root).blobs == {}


def test_pieces_are_put_together(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    whole = named(b"one two three")
    for name, data in ((whole, b"one "), (f"{whole}.4", b"two "), (f"{whole}.8", b"three")):
        assert shell(scripts.receive_file(str(root), name), data).returncode == 0
    pieces = (whole, f"{whole}.4", f"{whole}.8")
    said = shell.text(scripts.receive(str(root), [(whole, pieces)], (), "", unpack=False))
    assert inspection.has_answer(said, "staged"), said
    assert (root / "blobs" / whole).read_bytes() == b"one two three"
    assert inspect(shell, root).incoming == {}


def test_a_stream_that_is_cut_leaves_its_beginning(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    data = os.urandom(100_000)
    script = scripts.receive(str(root), [(named(data), (named(data),))], (), "", unpack=True)
    answer = shell(script, tar({named(data): data})[:60_000])
    assert answer.returncode == scripts.FAILED
    assert inspection.parse_failure(answer.stdout.decode())[0] == "NotReceived"
    (size,) = inspect(shell, root).incoming.values()
    assert 0 < size < 60_000
    assert (root / "incoming" / named(data)).read_bytes() == data[:size]


def test_a_slot_that_is_active_is_never_filled(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    files = {"model.onnx": b"one"}
    stage(shell, root, "a", files, target(1))
    shell.text(scripts.switch(str(root), "reader", "a", "", marker(target(1), files), None, ()))

    inspect(shell, root)
    said = stage(shell, root, "a", {"model.onnx": b"two"}, target(2))
    assert inspection.parse_failure(said)[0] == "Moved"
    assert (root / "models/reader/active/model.onnx").read_bytes() == b"one"


def test_only_what_was_staged_is_switched_to(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    files = {"model.onnx": b"one"}
    stage(shell, root, "a", files, target(1))
    said = shell.text(scripts.switch(str(root), "reader", "a", "", marker(target(2), files), None, ()))
    assert inspection.parse_failure(said)[0] == "Moved"
    assert inspect(shell, root).active("reader") is None


def test_a_slot_that_lost_a_file_holds_nothing_whole(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    stage(shell, root, "b", {"model.onnx": b"one", "labels.json": b"[]"}, target())
    (slot,) = inspect(shell, root).slots["reader"]
    assert (slot.name, slot.active, slot.whole) == ("b", False, True)
    (root / "models/reader/slots/b/labels.json").unlink()
    (slot,) = inspect(shell, root).slots["reader"]
    assert not slot.whole


def test_removing_twice_is_removing_once(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    files = {"model.onnx": b"one"}
    stage(shell, root, "a", files, target())
    shell.text(scripts.switch(str(root), "reader", "a", "", marker(target(), files), None, ()))
    for _ in range(2):
        assert inspection.has_answer(shell.text(scripts.remove(str(root), "reader")), "removed")
        assert not (root / "models/reader").exists()


def test_looking_changes_nothing(shell: Shell) -> None:
    root = shell.folder / "root"
    found = inspect(shell, root, make=False)
    assert (found.store, found.slots, found.read_only) == (str(root), {}, False)
    assert not root.exists()
    assert not (shell.folder / "home").exists()


def test_whoever_is_at_work_there_is_waited_for_and_then_left_alone(shell: Shell) -> None:
    root = shell.folder / "root"
    inspect(shell, root)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with subprocess.Popen(["sleep", "60"]) as other:
        (root / ".lock").write_text(f"{other.pid} {boot}\n")
        said = shell.text(scripts.receive(str(root), (), (), "", unpack=False))
        assert inspection.parse_failure(said)[0] == "Busy"
        other.kill()
    (root / ".lock").write_text(f"{os.getpid()} before the device was switched off\n")
    kept = named(b"kept")
    (root / "blobs" / kept).write_bytes(b"kept")
    said = shell.text(scripts.receive(str(root), (), (kept,), "", unpack=False))
    assert inspection.has_answer(said, "staged"), "a lock of a device that was switched off holds nobody up"
    assert not (root / ".lock").exists()


# ── the application ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_application_gets_its_signal(shell: Shell) -> None:
    application = 'trap \'echo got >>"$1"\' USR1; echo $$ >"$2"; while :; do sleep 0.1; done'
    got, pid_file = shell.folder / "got", shell.folder / "pid file"
    with subprocess.Popen(["sh", "-c", application, "app", got, pid_file]) as process:
        try:
            while not pid_file.exists() or not pid_file.read_text():
                pass
            restart = Restart.model_validate({"signal": "USR1", "pidFile": str(pid_file)})
            assert inspection.has_answer(shell.text(scripts.notify_application(restart)), "told")
            assert got.read_text() == "got\n"
        finally:
            process.kill()
    reason, words = inspection.parse_failure(shell.text(scripts.notify_application(restart)))
    assert reason == "RestartFailed"
    assert f"process {process.pid} is gone" in words


@pytest.mark.parametrize("content", ["", "0", "1", "-1", "12; reboot", "$(reboot)", "00123"])
def test_what_is_no_process_id_gets_no_signal(shell: Shell, content: str) -> None:
    pid_file = shell.folder / "pid"
    pid_file.write_text(content)
    restart = Restart.model_validate({"signal": "HUP", "pidFile": str(pid_file)})
    reason, words = inspection.parse_failure(shell.text(scripts.notify_application(restart)))
    assert (reason, "no process id" in words) == ("RestartFailed", True)


def test_a_unit_that_falls_over_gets_back_what_ran_before(shell: Shell) -> None:
    root, programs = shell.folder / "root", shell.folder / "programs"
    programs.mkdir()
    systemctl = programs / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\n[ "$1" = restart ] && cat "{root}/models/reader/active/model.onnx" >>"{shell.folder}/ran"\n'
        f'[ "$1" != is-active ] || ! grep -q bad "{root}/models/reader/active/model.onnx"\n'
    )
    systemctl.chmod(0o755)
    path = f"{programs}:{shell.path}"
    restart = Restart.model_validate({"unit": "lane@1.service"})

    def switch(slot: str, before: str, files: dict[str, bytes], version: int) -> str:
        inspect(shell, root)
        stage(shell, root, slot, files, target(version))
        marked = marker(target(version), files)
        return shell.text(scripts.switch(str(root), "reader", slot, before, marked, restart, ()), PATH=path)

    assert inspection.parse_failure(switch("a", "", {"model.onnx": b"bad "}, 1))[0] == "RestartFailed"
    assert inspect(shell, root).active("reader") is None, "nothing was active before"
    assert inspection.has_answer(switch("a", "", {"model.onnx": b"good "}, 2), "switched")
    assert inspection.parse_failure(switch("b", "a", {"model.onnx": b"bad "}, 3)) == (
        "RestartFailed",
        "lane@1.service: it is not active after the restart",
    )
    active = inspect(shell, root).active("reader")
    assert active is not None
    assert active.marker.assignment == target(2)
    assert (shell.folder / "ran").read_text().split() == ["bad", "good", "bad", "good"]


@pytest.mark.parametrize("shell", ["sh", "bash"], indirect=True)  # busybox has an mv of its own
def test_programs_that_do_nothing_are_found_out(shell: Shell) -> None:
    root, programs = shell.folder / "root", shell.folder / "programs"
    inspect(shell, root)
    files = {"model.onnx": b"one"}
    stage(shell, root, "a", files, target())
    programs.mkdir()
    (programs / "mv").symlink_to(shutil.which("true") or "/bin/true")
    script = scripts.switch(str(root), "reader", "a", "", marker(target(), files), None, ())
    reason, _ = inspection.parse_failure(shell.text(script, PATH=f"{programs}:{shell.path}"))
    assert reason == "NotSwitched"
    assert inspect(shell, root).active("reader") is None
