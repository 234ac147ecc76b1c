"""The report drop."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgewright.core.fleet.presence import received_at
from edgewright.delivery.agent.report_drop import MAX_BYTES, ReportDrop
from edgewright.errors import DeliveryUnavailable
from samples.delivery_values import a_report


def now() -> datetime:
    return datetime.now(UTC)


def later() -> datetime:
    """A clock by which every file has settled."""
    return now() + timedelta(minutes=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


def drop_report(folder: Path, device: str, sequence: int) -> Path:
    path = folder / f"{device}.json"
    beside = folder / f".{device}.tmp"
    beside.write_bytes(a_report(device, sequence).to_bytes())
    return beside.replace(path)


def test_no_folder_is_no_reports(tmp_path: Path) -> None:
    assert ReportDrop(tmp_path / "reports", None, now).collect({}) == []


def test_a_folder_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("")
    with pytest.raises(DeliveryUnavailable, match="cannot read the report drop"):
        ReportDrop(tmp_path / "reports", None, now).collect({})


def test_bad_files_never_stop_the_others(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = drop_report(folder, "lane-1", 1)
    (folder / "not-json.json").write_text("{")
    (folder / "empty.json").write_bytes(b"")
    (folder / "latin.json").write_bytes(b'{"device":"\xe9"}')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "someone.json").write_bytes(a_report("someone-else", 1).to_bytes())
    (folder / "future.json").write_text(json.dumps({"schemaVersion": 2, "device": "future", "sequence": 1}))
    with (folder / "huge.json").open("wb") as huge:
        huge.truncate(MAX_BYTES + 1)
    outside = tmp_path / "outside.json"
    outside.write_bytes(a_report("linked", 1).to_bytes())
    (folder / "linked.json").symlink_to(outside)
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    (folder / ".half.json").write_text("{")
    (folder / "notes.txt").write_text("not for us")

    drop = ReportDrop(folder, tmp_path / "cache/index.json", later)
    assert drop.collect({}) == [a_report("lane-1", 1)]
    captured = capsys.readouterr()
    assert captured.out == ""
    named = {"not-json", "empty", "latin", "deep", "someone", "future", "huge", "linked", "pipe", "folder"}
    assert {name for name in named if f"{name}.json" in captured.err} == named
    assert good.name not in captured.err
    assert ".half" not in captured.err

    assert drop.collect({"lane-1": 1}) == []
    assert ReportDrop(folder, tmp_path / "cache/index.json", later).collect({"lane-1": 1}) == []
    assert capsys.readouterr().err == "", "a bad file is told of once, until it changes"
    drop_report(folder, "not-json", 4)
    assert drop.collect({"lane-1": 1}) == [a_report("not-json", 4)]


def test_unchanged_reports_are_not_read_again(folder: Path, tmp_path: Path) -> None:
    index = tmp_path / "cache/index.json"
    path = drop_report(folder, "lane-1", 3)
    assert ReportDrop(folder, index, later).collect({}) == [a_report("lane-1", 3)]

    # The same file with other bytes: whoever reads it would see a newer report.
    status = path.stat()
    path.write_bytes(a_report("lane-1", 9).to_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ReportDrop(folder, index, later).collect({"lane-1": 3}) == []
    assert ReportDrop(folder, index, lambda: datetime.fromtimestamp(status.st_mtime, UTC)).collect({"lane-1": 3}) == [
        a_report("lane-1", 9)
    ], "a file this young may have changed within its modification time"


def test_a_report_is_given_until_it_is_known(folder: Path, tmp_path: Path) -> None:
    drop_report(folder, "lane-1", 3)
    for _ in range(2):
        drop = ReportDrop(folder, tmp_path / "cache/index.json", later)
        assert drop.collect({"lane-1": 2}) == [a_report("lane-1", 3)]
        assert drop.collect({}) == [a_report("lane-1", 3)]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version":1}', b'{"version":1,"folder":"x","files":[1]}', b"\xff"])
def test_a_broken_index_costs_nothing_but_time(folder: Path, tmp_path: Path, content: bytes) -> None:
    index = tmp_path / "index.json"
    index.write_bytes(content)
    drop_report(folder, "lane-1", 3)
    assert ReportDrop(folder, index, later).collect({}) == [a_report("lane-1", 3)]
    assert ReportDrop(folder, index, later).collect({"lane-1": 3}) == []


def test_an_index_of_another_folder_is_not_believed(folder: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.json"
    drop_report(folder, "lane-1", 3)
    ReportDrop(folder, index, later).collect({})
    folder.rename(tmp_path / "elsewhere")
    assert ReportDrop(tmp_path / "elsewhere", index, later).collect({}) == [a_report("lane-1", 3)]


def test_an_index_that_cannot_be_written_stops_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    drop_report(folder, "lane-1", 3)
    assert ReportDrop(folder, tmp_path / "file" / "index.json", later).collect({}) == [a_report("lane-1", 3)]


def test_a_report_arrives_by_the_engine_s_clock_between_two_looks(folder: Path, tmp_path: Path) -> None:
    at_now = [datetime(2026, 12, 1, 8, tzinfo=UTC)]
    drop = ReportDrop(folder, tmp_path / "index.json", lambda: at_now[0])
    drop_report(folder, "lane-1", 3)
    for written, expected in ((-3600.0, -3600.0), (3600.0, 0.0)):
        at = at_now[0].timestamp() + written
        os.utime(folder / "lane-1.json", (at, at))
        assert received_at(drop.collect({})[0]) == at_now[0] + timedelta(seconds=expected)
    at_now[0] += timedelta(minutes=1)
    drop_report(folder, "lane-1", 4)
    os.utime(folder / "lane-1.json", (0, 0))  # as a copy with the device's own times
    again = ReportDrop(folder, tmp_path / "index.json", lambda: at_now[0])
    for reader in (again, drop):
        assert received_at(reader.collect({})[0]) == at_now[0] - timedelta(minutes=1)
    # Whoever looks again, as ``status`` does, does not make a silent device speak.
    at_now[0] += timedelta(hours=1)
    yet_again = ReportDrop(folder, tmp_path / "index.json", lambda: at_now[0])
    for reader in (again, drop, yet_again):
        assert received_at(reader.collect({})[0]) == at_now[0] - timedelta(minutes=61)


def test_a_device_that_lost_its_count_is_read_again(folder: Path, tmp_path: Path) -> None:
    drop_report(folder, "lane-1", 3)
    drop = ReportDrop(folder, None, lambda: datetime.now(UTC))
    assert [report.sequence for report in drop.collect({"lane-1": 4_000_000_000})] == [3]


def test_reading_imports_nothing_that_signs(folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edgewright.delivery.agent.driver import AgentDelivery\n"
        f"d = AgentDelivery(Path({str(tmp_path)!r}), Path({str(folder)!r}), Path('keys'))\n"
        "d.published(); d.observe({}); d.expires()\n"
        "print(sorted({'tuf', 'securesystemslib', 'cryptography', 'structlog', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
