"""A mirror of a remote repository: what it takes, how it recovers, what it never tells."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgewright.errors import SourceError, SourceUnavailable
from edgewright.secret import Secret
from edgewright.source.cache import code_version
from edgewright.source.git.credentials import Credentials
from edgewright.source.git.transports import Limits
from edgewright.source.mirrors import Mirror
from edgewright_schemas.environment import Follow
from samples.repositories import DATASET, commit, run_git, write
from servers.git_server import GitServer, Trouble
from worlds.git_remotes import MAIN, change, opening_mirrors, push, served_work

SOON = Limits(listing=5, transfer=5, stalled=2, waiting=10)


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


def objects(mirror: Path, *arguments: str) -> list[str]:
    return run_git(mirror / "repository.git", "rev-list", *arguments).split()


def test_only_what_is_followed_comes_without_history(work: Path, tmp_path: Path, follow: Callable[..., Mirror]) -> None:
    for number in range(5):
        change(work, str(number))
        run_git(work, "tag", f"v1.{number}.0")
        run_git(work, "branch", f"other-{number}")
    write(work, {"big": "b"})
    unwanted = commit(work)
    push(work, "main:refs/heads/side", "refs/tags/*", "refs/heads/other-*")
    mirror = follow()
    mirror.fetch((MAIN, Follow(semver="<1.3.0")))
    expected = {run_git(work, "rev-parse", "origin/main"), run_git(work, "rev-parse", "v1.2.0")}
    assert set(objects(tmp_path / "mirror", "--all")) == expected
    assert unwanted not in objects(tmp_path / "mirror", "--all", "--objects")


def test_asking_again_costs_one_look(work: Path, server: GitServer, follow: Callable[..., Mirror]) -> None:
    mirror = follow()
    mirror.fetch((MAIN,))
    before = len(server.asked)
    mirror.fetch((MAIN,))
    assert [each.method for each in server.asked[before:]] == ["GET", "POST"]
    assert sum(each.sent for each in server.asked[before:]) < 1000


def test_work_follows_what_changed(
    work: Path, tmp_path: Path, server: GitServer, follow: Callable[..., Mirror]
) -> None:
    def dataset(name: str) -> str:
        return DATASET.replace("name: tags", f"name: {name}")

    write(work, {f"specs/more/{number // 20}/d{number}.yaml": dataset(f"d{number}") for number in range(200)})
    commit(work)
    push(work)
    mirror = follow()
    mirror.fetch((MAIN,))
    source = mirror.source(lambda: mirror.resolve(MAIN))
    assert len(source.snapshot().resources) == 205
    read = cached(tmp_path)
    sent = sum(each.sent for each in server.asked)
    write(work, {"specs/more/7/d150.yaml": dataset("another")})
    commit(work)
    push(work)
    mirror.fetch((MAIN,))
    assert "dataset/another" in map(str, source.snapshot().resources)
    assert cached(tmp_path)["file"] - read["file"] == 1
    assert cached(tmp_path)["tree"] - read["tree"] == 4
    assert sum(each.sent for each in server.asked) - sent < sent / 10


def cached(tmp_path: Path) -> dict[str, int]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / f"mirror/cache/source-{code_version()}.sqlite")) as db:
        return dict(db.execute("SELECT kind, count(*) FROM entries GROUP BY kind"))


def test_a_remote_that_is_away_changes_nothing(work: Path, server: GitServer, follow: Callable[..., Mirror]) -> None:
    mirror = follow(limits=SOON)
    mirror.fetch((MAIN,))
    source = mirror.source(lambda: mirror.resolve(MAIN))
    before = source.snapshot().revision
    after = change(work)
    server.cut_after = 100
    troubles: tuple[Trouble, ...] = ("500", "html", "hang", "cut")
    for trouble in troubles:
        server.trouble = trouble
        with pytest.raises(SourceUnavailable) as caught:
            mirror.fetch((MAIN,))
        assert server.url() in str(caught.value)
        assert source.snapshot().revision == before
    server.trouble = ""
    mirror.fetch((MAIN,))
    assert source.snapshot().revision == after


def test_an_address_nobody_answers_at(tmp_path: Path) -> None:
    with GitServer(tmp_path / "served") as server:
        url = server.url()
    mirror = Mirror(url, tmp_path / "mirror", Credentials(), cache=None, limits=SOON)
    with pytest.raises(SourceUnavailable, match=r"cannot be read: .*(refused|connect)"):
        mirror.fetch(())
    with pytest.raises(SourceError, match="was not fetched yet"):
        mirror.resolve(None)
    mirror.close()


def test_what_is_no_repository(work: Path, server: GitServer, follow: Callable[..., Mirror]) -> None:
    with pytest.raises(SourceError, match="there is no repository"):
        follow(url=server.url("nothing.git")).fetch(())
    server.trouble = "html"
    with pytest.raises(SourceError, match="is no Git repository"):
        follow().fetch(())


def test_a_repository_with_sha256_ids(tmp_path: Path, follow: Callable[..., Mirror]) -> None:
    run_git(tmp_path, "init", "-q", "--object-format=sha256", "-b", "main", "long")
    commit(tmp_path / "long")
    with pytest.raises(SourceError, match="SHA-256"):
        follow(url=f"file://{tmp_path}/long").fetch(())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://ada:secret@example.com/r.git", "the address of https://example.com/r.git holds credentials"),
        ("https://ghp_token@example.com/r.git", "the address of https://example.com/r.git holds credentials"),
        ("ssh://git:secret@example.com/r.git", "the address of ssh://example.com/r.git holds credentials"),
        ("git://example.com/r.git", "git is not a known scheme"),
        ("ext::sh -c x", "characters that no address has"),
        ("https:///r.git", "names no host"),
        ("https://example.com:port/r.git", "is no URL"),
    ],
)
def test_addresses_that_are_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        Mirror(url, tmp_path, Credentials(), cache=None)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "ghp_token" not in str(caught.value)


def test_a_private_repository(work: Path, tmp_path: Path, server: GitServer, follow: Callable[..., Mirror]) -> None:
    server.username, server.password = "ada", "correct horse"
    with pytest.raises(SourceError, match="asks for credentials, and there are none") as caught:
        follow().fetch(())
    assert "set EDGEWRIGHT_GIT_TOKEN, or EDGEWRIGHT_GIT_USERNAME" in str(caught.value)
    wrong = Credentials("ada", Secret("hunter2"))
    with pytest.raises(SourceError, match="correct EDGEWRIGHT_GIT_TOKEN") as caught:
        follow(wrong).fetch(())
    assert "hunter2" not in str(caught.value)
    mirror = follow(Credentials("ada", Secret("correct horse")))
    mirror.fetch((MAIN,))
    assert mirror.resolve(MAIN) == run_git(work, "rev-parse", "main")
    for path in (tmp_path / "mirror").rglob("*"):
        assert path.is_dir() or b"correct horse" not in path.read_bytes()


def test_a_password_is_on_no_command_line(work: Path, server: GitServer, follow: Callable[..., Mirror]) -> None:
    server.username, server.password, server.trouble = "ada", "correct-horse-battery", ""
    mirror = follow(Credentials("ada", Secret(server.password)))
    mirror.fetch(())
    server.password, server.trouble = "", "hang"
    seen: list[bytes] = []
    with ThreadPoolExecutor() as pool:
        fetching = pool.submit(mirror.fetch, ())
        assert server.arrived.wait(20)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(path.read_bytes())
            except OSError:
                continue
        mirror.close()
        with pytest.raises(SourceUnavailable):
            fetching.result(20)
    assert any(server.url().encode() in line for line in seen)
    assert not any(b"correct-horse-battery" in line for line in seen)


def test_a_redirect_to_another_host_gets_no_password(work: Path, tmp_path: Path, server: GitServer) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", server.url() + self.path.removeprefix("/repo.git"))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server.username, server.password = "ada", "correct horse"
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{other.server_address[1]}/repo.git"
        mirror = Mirror(url, tmp_path / "mirror", Credentials("ada", Secret("correct horse")), cache=None)
        with pytest.raises(SourceError):
            mirror.fetch(())
        other.shutdown()
        thread.join()
