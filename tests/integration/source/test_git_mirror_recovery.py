"""A mirror of a remote repository after crashes, damage, rewrites and hostile settings."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgewright.errors import SourceError, SourceUnavailable
from edgewright.source.git.commands import Commands, GitTimedOut, environment
from edgewright.source.git.credentials import Credentials
from edgewright.source.mirrors import Mirror
from edgewright_schemas.environment import Follow
from harness.children import child, heard
from samples.repositories import FILES, make_repository, run_git, write
from servers.git_server import GitServer
from worlds.git_remotes import MAIN, change, opening_mirrors, push, served_work


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "served") as server:
        yield server


@pytest.fixture
def work(tmp_path: Path, server: GitServer) -> Path:
    return served_work(tmp_path, server)


@pytest.fixture
def follow(tmp_path: Path, server: GitServer) -> Iterator[Callable[..., Mirror]]:
    with opening_mirrors(tmp_path, server) as open_:
        yield open_


FETCH = """
import sys
from pathlib import Path
from edgewright.source.git.credentials import Credentials
from edgewright.source.mirrors import Mirror
from edgewright_schemas.environment import Follow

mirror = Mirror(sys.argv[1], Path(sys.argv[2]), Credentials(), cache=None)
print("ready", flush=True)
sys.stdin.readline()
mirror.fetch((Follow(branch="main"),))
print(mirror.resolve(None), flush=True)
mirror.close()
"""


def test_a_fetch_that_is_killed_is_repeated(
    work: Path, tmp_path: Path, server: GitServer, follow: Callable[..., Mirror]
) -> None:
    follow().fetch((MAIN,))
    made = change(work)
    server.trouble = "hang"
    with child(FETCH, server.url(), tmp_path / "mirror") as process:
        assert heard(process) == "ready"
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert server.arrived.wait(20)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    git_dir = tmp_path / "mirror/repository.git"
    for left in ("shallow.lock", "packed-refs.lock", "config.lock", "refs/edgewright/kept/x.lock"):
        (git_dir / left).parent.mkdir(parents=True, exist_ok=True)
        (git_dir / left).touch()
    (git_dir / "objects/pack/tmp_pack_x").write_bytes(b"half")
    server.trouble = ""
    server.release()
    mirror = follow()
    mirror.fetch((MAIN,))
    assert mirror.resolve(MAIN) == made
    assert not list(git_dir.rglob("*.lock"))
    assert not list(git_dir.rglob("tmp_*"))


def test_one_fetch_at_a_time_among_threads_and_processes(
    work: Path, tmp_path: Path, server: GitServer, follow: Callable[..., Mirror]
) -> None:
    made = change(work)
    mirror = follow()
    with (
        child(FETCH, server.url(), tmp_path / "mirror") as first,
        child(FETCH, server.url(), tmp_path / "mirror") as two,
    ):
        for process in (first, two):
            assert heard(process) == "ready"
        for process in (first, two):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        with ThreadPoolExecutor(4) as pool:
            fetched = list(pool.map(lambda _: mirror.fetch((MAIN,)), range(4)))
        assert heard(first) == heard(two) == made
    assert sum(len(each.changed) for each in fetched) <= 1
    assert mirror.resolve(MAIN) == made


@pytest.mark.parametrize("damage", ["pack", "pack emptied", "shallow", "head", "config", "gone"])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_damaged_mirror_is_made_anew(
    work: Path, tmp_path: Path, follow: Callable[..., Mirror], damage: str, is_open: bool
) -> None:
    mirror = follow()
    mirror.fetch((MAIN,))
    old = mirror.resolve(MAIN)
    source = mirror.source(lambda: old)
    source.snapshot()
    made = change(work)
    mirror.close()
    git_dir = tmp_path / "mirror/repository.git"
    for path in (git_dir / "objects/pack").glob("*.pack"):
        path.chmod(0o644)
        if damage == "pack":
            path.write_bytes(path.read_bytes()[:60] + b"\0" * 200)
        elif damage == "pack emptied":
            path.write_bytes(b"")
        elif damage == "gone":
            path.unlink()
    if damage in {"shallow", "head", "config"}:
        (git_dir / {"shallow": "shallow", "head": "HEAD", "config": "config"}[damage]).write_bytes(b"\0nonsense\n")
    if not is_open:
        mirror = follow()
        source = mirror.source(lambda: old)
    elif damage.startswith("pack") or damage == "gone":
        with pytest.raises(SourceError):
            source.materialize(old, ["data"], tmp_path / "out")
    mirror.fetch((MAIN,))
    assert mirror.resolve(MAIN) == made
    source.materialize(old, ["data"], tmp_path / "out")
    assert (tmp_path / "out/data/tags.csv").read_text() == FILES["data/tags.csv"]
    assert run_git(git_dir, "fsck", "--no-dangling") == ""
    assert not (tmp_path / "mirror/damaged.git").exists()


def test_a_mirror_made_anew_by_another_process_is_read(
    work: Path, tmp_path: Path, follow: Callable[..., Mirror]
) -> None:
    mirror, other = follow(), follow()
    mirror.fetch((MAIN,))
    source = mirror.source(lambda: mirror.resolve(MAIN))
    source.snapshot()
    for path in (tmp_path / "mirror/repository.git/objects/pack").glob("*.pack"):
        path.unlink()
    made = change(work)
    other.fetch((MAIN,))
    assert source.snapshot().revision == made
    source.materialize(made, ["data"], tmp_path / "out")


def test_a_swap_that_was_cut_off_is_undone(work: Path, tmp_path: Path, follow: Callable[..., Mirror]) -> None:
    follow().fetch((MAIN,))
    (tmp_path / "mirror/repository.git").rename(tmp_path / "mirror/damaged.git")
    mirror = follow()
    mirror.fetch((MAIN,))
    assert mirror.source(lambda: mirror.resolve(None)).snapshot().resources


def test_an_accepted_commit_outlives_many_rewrites(
    work: Path, tmp_path: Path, follow: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.source.git.folder._KEEP", 3)
    monkeypatch.setattr("edgewright.source.git.folder._MANY_PACKS", 4)
    mirror = follow()
    mirror.fetch((MAIN,))
    accepted = mirror.resolve(MAIN)
    source = mirror.source(lambda: accepted)
    tree = run_git(work, "rev-parse", "HEAD^{tree}")
    for number in range(8):
        made = run_git(work, "commit-tree", tree, "-m", str(number))
        run_git(work, "push", "-q", "--force", "origin", f"{made}:refs/heads/main")
        assert mirror.fetch((MAIN,)).rewritten == ("branch main",)
    assert source.snapshot().revision == accepted
    git_dir = tmp_path / "mirror/repository.git"
    assert len(run_git(git_dir, "for-each-ref", "refs/edgewright/kept").splitlines()) == 3
    assert len(list(git_dir.glob("objects/pack/*.pack"))) <= 4


def test_a_mirror_that_was_lost_fetches_the_accepted_commit_again(
    work: Path, tmp_path: Path, follow: Callable[..., Mirror]
) -> None:
    accepted = run_git(work, "rev-parse", "main")
    change(work)
    mirror = follow()
    source = mirror.source(lambda: accepted)
    with pytest.raises(SourceError):
        source.snapshot()
    mirror.fetch((MAIN,))
    assert source.snapshot().revision == accepted


def test_a_commit_the_server_does_not_give(work: Path, follow: Callable[..., Mirror]) -> None:
    mirror = follow()
    wanted = Follow(commit="1" * 40)
    mirror.fetch((MAIN, wanted))
    assert mirror.resolve(MAIN)
    with pytest.raises(SourceError, match=r"commit 1111.* cannot be had: .*not our ref"):
        mirror.resolve(wanted)


def test_another_address_in_the_same_folder_starts_anew(
    work: Path, tmp_path: Path, server: GitServer, follow: Callable[..., Mirror]
) -> None:
    follow().fetch((MAIN,))
    other = make_repository(tmp_path / "other", {"a.txt": "a"})
    server.add(other, "other.git")
    mirror = follow(url=server.url("other.git"))
    with pytest.raises(SourceError, match="was not fetched yet"):
        mirror.resolve(MAIN)
    fetched = mirror.fetch((MAIN,))
    assert (fetched.changed, fetched.rewritten) == (("branch main",), ())


def test_nobodys_hooks_and_filters_run(
    work: Path, tmp_path: Path, follow: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "templates/hooks"
    hooks.mkdir(parents=True)
    for name in ("reference-transaction", "post-checkout", "post-merge"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[core]\n hooksPath={hooks}\n[init]\n templateDir={tmp_path}/templates\n"
        f'[filter "x"]\n smudge=touch {tmp_path}/ran\n'
        "[safe]\n bareRepository=explicit\n[fetch]\n recurseSubmodules=true\n[gc]\n auto=1\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(work / ".git"))
    write(work, {".gitattributes": "*.csv filter=x\n"})
    monkeypatch.delenv("GIT_DIR")
    made = change(work)
    monkeypatch.setenv("GIT_DIR", str(work / ".git"))
    mirror = follow()
    mirror.fetch((MAIN,))
    source = mirror.source(lambda: mirror.resolve(None))
    assert source.snapshot().revision == made
    source.materialize(made, ["data"], tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_a_fetch_ends_when_the_upstream_is_closed(work: Path, server: GitServer, follow: Callable[..., Mirror]) -> None:
    server.trouble = "hang"
    mirror = follow()
    with ThreadPoolExecutor() as pool:
        fetching = pool.submit(mirror.fetch, ())
        assert server.arrived.wait(20)
        mirror.close()
        with pytest.raises(SourceUnavailable):
            fetching.result(20)


def test_a_folder_that_cannot_be_made(work: Path, tmp_path: Path, server: GitServer) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot be written"):
        Mirror(server.url(), tmp_path / "file/mirror", Credentials(), cache=None).fetch(())


def test_a_command_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q", "--bare", "bare.git")
    variables = environment(
        {"alias.stuck": f"!cut -d' ' -f6 /proc/$$/stat > {tmp_path}/session; sleep 300 & trap '' TERM; sleep 300"}
    )
    with pytest.raises(GitTimedOut, match="no answer within 1 seconds"):
        Commands().run(tmp_path / "bare.git", "stuck", variables=variables, seconds=1)
    number = int((tmp_path / "session").read_text())
    assert number != os.getsid(0)
    end = time.monotonic() + 10
    while left := [path for path in Path("/proc").glob("[0-9]*/stat") if session(path) == number]:
        assert time.monotonic() < end, left


def session(path: Path) -> int | None:
    """Read the session of a process that is no zombie."""
    try:
        fields = path.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[3]) if fields[0] != "Z" else None


def test_a_tag_of_something_else_than_a_commit(work: Path, follow: Callable[..., Mirror]) -> None:
    run_git(work, "tag", "file", "HEAD:data/tags.csv")
    run_git(work, "tag", "-a", "-m", "x", "folder", "HEAD:data")
    run_git(work, "tag", "-a", "-m", "x", "inner", "HEAD")
    run_git(work, "tag", "-a", "-m", "x", "outer", "inner")
    push(work, "refs/tags/*")
    mirror = follow()
    follows = {name: Follow(tag=name) for name in ("file", "folder", "outer")}
    mirror.fetch(follows.values())
    assert mirror.resolve(follows["outer"]) == run_git(work, "rev-parse", "HEAD")
    for name in ("file", "folder"):
        with pytest.raises(SourceError, match=f"tag {name} leads to no commit"):
            mirror.resolve(follows[name])
