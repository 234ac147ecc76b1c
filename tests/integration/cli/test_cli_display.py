"""What commands show: text from outside is shown as it is, tables are whole, and answers are about what was asked."""

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from edgewright.cli.render.plain import plain
from edgewright.cli.render.table import print_table
from edgewright.core.artifact import Action
from fakes.builder import FakeBuilder
from harness.command_line import (
    WHOLE,
    Keyboard,
    converge,
    edgewright,
    edgewright_as,
    edit,
    failing,
    repository,
    write_report,
)
from samples.repositories import run_git

NASTY = "bad [/tag] [bold]x[/bold]"
DEVICES = ("lane-1", "lane-2")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A whole repository that was never applied."""
    return repository(tmp_path / "fresh", WHOLE)


def test_text_from_outside_is_shown_as_it_is_and_commands_no_terminal(tmp_path: Path) -> None:
    labels = "id,store\nlane-1,[/lyon]\nlane-2,[red]b\n"
    shop = repository(tmp_path / "shop", {**WHOLE, "fleets/lanes.csv": labels})
    builder = FakeBuilder()
    builder.failures[Action.EXPORT, "reader"] = failing(f"{NASTY} \x1b[31mred\x1b[0m \x1b]0;title\x07 end\x9b2J")
    converge(shop, builder=builder)
    edgewright(shop, "devices", "list").expect(0, "store=[/lyon]", "store=[red]b")
    for command in (["status"], ["history"], ["explain", "model/reader"], ["plan"], ["apply", "--yes"]):
        ran = edgewright(shop, *command)
        assert ran.code in {0, 3}, ran.said
        assert f"{NASTY} red " in ran.said, ran.said
        assert " end2J" in ran.said, ran.said
        assert not {"\x1b", "\x07", "\x9b"} & set(ran.said)


def test_a_rollout_and_the_names_in_errors_are_shown_as_they_are(fresh: Path) -> None:
    converge(fresh, devices=DEVICES)
    edgewright(fresh, "rollout", "status", "reader").expect(0, "rollout/reader: succeeded", "lane-1")
    edgewright(fresh, "rollout", "status", "[/x]").expect(1, "rollout/[/x] has not started")


def test_escapes_are_removed_whole() -> None:
    assert plain("\x1b[1;31ma\x1b[0m\tb\nc\x1b]8;;http://x\x1b\\d\x1b(Be\rf") == "a\tb\ncdef"
    assert plain("é 🛒 [/x]") == "é 🛒 [/x]"
    assert plain("a\u202eb") == "ab"


HEADINGS = ("DEVICE", "LABELS", "MESSAGE")
ROW = ("a-device-with-a-rather-long-id-0001", "store=lyon, class=npu-camera", "it said " + "word " * 20)


def drawn(width: int, *, terminal: bool) -> list[str]:
    """Draw one row."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None, soft_wrap=True)
    print_table(console, HEADINGS, [ROW, ("b", "", "")], whole={"DEVICE"})
    return out.getvalue().splitlines()


def test_a_narrow_terminal_folds_cells_and_cuts_nothing() -> None:
    lines = drawn(80, terminal=True)
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith(ROW[0] + " ")
    assert len(lines) > 4
    text = "".join("".join(lines).split())
    assert "…" not in text
    assert text.count("word") == 20
    assert ROW[0] in drawn(20, terminal=True)[1]
    assert any(line.strip().startswith("class=npu-camera") for line in lines), "labels fold between words"
    assert len(drawn(400, terminal=True)) == 3


def test_a_piped_table_has_a_line_for_each_row_and_no_trailing_blanks(fresh: Path) -> None:
    lines = drawn(80, terminal=False)
    assert len(lines) == 3
    assert lines[1].endswith("word word")
    assert lines[2] == "b"
    converge(fresh, devices=DEVICES)
    for command in (["status"], ["history"], ["devices", "list"], ["rollout", "status", "reader"]):
        shown = edgewright(fresh, *command).expect(0).stdout.splitlines()
        assert shown
        assert all(line == line.rstrip() for line in shown), command


# ── init ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_init_makes_keys_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_KEYS", str(tmp_path / "safe/keys"))
    target = tmp_path / "my-fleet"
    edgewright_as(["edgewright", "init", str(target)]).expect(0, f"made signing keys in {tmp_path / 'safe/keys'}")
    assert (tmp_path / "safe/keys/online.pem").exists()
    assert not (target / ".edgewright/keys").exists()
    edgewright(target, "plan").expect(0, "build-dataset")


def test_init_inside_another_repository_advises_to_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_git(tmp_path, "init", "-q", "-b", "main")
    target = tmp_path / "the shop"
    ran = edgewright_as(["edgewright", "init", str(target), "--name", "shop"])
    ran.expect(0, f"next: cd {shlex.quote(str(target))} && git add . && git commit", "&& edgewright plan")
    monkeypatch.chdir(target)
    run_git(target, "add", ".")
    run_git(target, "commit", "-q", "-m", "Declare a first fleet")
    edgewright_as(["edgewright", "plan"]).expect(0, "build-dataset")


def test_init_in_a_folder_whose_name_is_no_name(tmp_path: Path) -> None:
    target = tmp_path / "my shop é"
    ran = edgewright_as(["edgewright", "init", str(target)])
    ran.expect(1, "lower-case letters", f"edgewright init {shlex.quote(str(target))} --name my-shop-e")
    assert not target.exists()
    edgewright_as(["edgewright", "init", str(target), "--name", "my-shop-e"]).expect(0)


# ── plan and apply ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", [["--worktree"], ["--base", "HEAD"]])
def test_what_can_never_be_applied_is_refused_before_it_is_shown(fresh: Path, tmp_path: Path, what: list[str]) -> None:
    out = tmp_path / "next.plan"
    ran = edgewright(fresh, "plan", *what, "--out", str(out)).expect(1, "cannot be saved")
    assert ran.stdout == ""
    assert not out.exists()


@pytest.mark.parametrize(("typed", "code"), [("n\n", 0), ("", 130), (None, 130)], ids=["no", "Ctrl-D", "Ctrl-C"])
def test_not_saying_yes(fresh: Path, typed: str | None, code: int) -> None:
    ran = edgewright(fresh, "apply", "-o", "json", keyboard=Keyboard(typed))
    ran.expect(code, "Apply this plan?", "build-dataset dataset/tags")
    assert ran.stdout == "", "it is for JSON alone"
    assert not (fresh / ".edgewright/state.db").exists()


def test_saying_yes(fresh: Path) -> None:
    edit(fresh, {"data/tags.csv": "nothing\n"})
    ran = edgewright(fresh, "apply", "-o", "json", "--timeout", "0s", keyboard=Keyboard("y\n"))
    assert ran.json()["timedOut"] is True


def test_the_plan_shown_before_json_is_not_on_stdout(fresh: Path) -> None:
    converge(fresh, devices=DEVICES)
    ran = edgewright(fresh, "apply", "-o", "json").expect(0)
    assert ran.json()["converged"] is True
    assert "Nothing to do" in ran.stderr


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_explaining_what_has_no_steps(fresh: Path) -> None:
    edgewright(fresh, "explain", "fleet/lanes").expect(0, "no steps of its own; it is used by rollout/reader")
    edgewright(fresh, "explain", "thresholds/good").expect(0, "no steps of its own; it is used by model/reader")


def test_suggestions_are_about_this_repository(fresh: Path) -> None:
    for asked, meant in (("reader", "model/reader"), ("nothing", "dataset/tags"), ("lanes", "fleet/lanes")):
        ran = edgewright(fresh, "explain", asked).expect(1, "is no address", meant)
        assert "price-tag" not in ran.said


def test_history_of_what_never_was(fresh: Path) -> None:
    edgewright(fresh, "history", "model/raeder").expect(1, "model/raeder is not declared", "did you mean model/reader?")
    edgewright(fresh, "history", "model/reader").expect(0, "nothing has happened yet")
    edgewright(fresh, "history").expect(0, "nothing has happened yet")
    edgewright(fresh, "history", "--kind", "modle").expect(1, "there is no kind 'modle'", "did you mean model?")


def test_a_device_that_reports_under_another_id_is_seen(fresh: Path) -> None:
    write_report(fresh / ".edgewright", "lnae-2", 1, None)
    rows = edgewright(fresh, "devices", "list", "-o", "json").expect(0).json()
    assert [(row["device"], row["fleet"]) for row in rows] == [
        ("lane-1", "lanes"),
        ("lane-2", "lanes"),
        ("lnae-2", None),
    ]
    line = edgewright(fresh, "devices", "list").expect(0).stdout.splitlines()[-1]
    assert line.split()[:2] == ["lnae-2", "-"]
    assert len(edgewright(fresh, "devices", "list", "--fleet", "lanes", "-o", "json").json()) == 2
