"""What a stranger's pull request can make the controller open: nothing that what is in force does not name."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from edgewright.core.planning.plan import Plan
from edgewright.core.snapshot import Snapshot
from edgewright.wiring.environments import LiveEnvironment
from edgewright.wiring.workspace import Workspace
from harness.command_line import DATASET, HEAD, WHOLE, repository
from samples.repositories import commit, write


@pytest.fixture
def inside() -> Iterator[tuple[str, list[str]]]:
    """A server that only the controller can reach, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("ETag", '"internal"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815  # the base class looks for this name

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/credentials", asked
        finally:
            server.shutdown()
            thread.join()


def outside(uri: str) -> str:
    return DATASET.replace("data/tags.csv", uri)


def previewed(repo: Path, files: dict[str, str], *, is_first: bool = False) -> Plan:
    """Propose files on top of what is in force, and plan as the controller does."""
    workspace = Workspace(repo)
    in_force: Snapshot | None = None if is_first else workspace.source.snapshot()
    write(repo, files)
    commit(repo)
    with workspace.state:
        environment = LiveEnvironment(workspace, workspace.upstream, lambda: None)
        return environment.plan(Workspace(repo).source.snapshot(), in_force)


def test_a_proposal_does_not_make_the_controller_ask_a_server(tmp_path: Path, inside: tuple[str, list[str]]) -> None:
    url, asked = inside
    repo = repository(tmp_path / "repo", WHOLE)
    plan = previewed(repo, {"specs/dataset.yaml": outside(url)})
    (note,) = [note for note in plan.notes if note.reason == "SourceNotPinned"]
    assert "looked at only after the merge" in note.message
    assert asked == []


def test_a_proposal_does_not_read_files_beside_the_repository(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hunter2")
    repo = repository(tmp_path / "repo", WHOLE)
    keys = ".edgewright/keys/online.pem"
    assert (repo / keys).is_file()
    for uri in (f"file://{secret}", keys):
        plan = previewed(repo, {"specs/dataset.yaml": outside(uri)})
        assert not any("sha256:" in note.message for note in plan.notes), uri


def test_what_is_in_force_names_is_still_looked_at(tmp_path: Path, inside: tuple[str, list[str]]) -> None:
    url, asked = inside
    repo = repository(tmp_path / "repo", {**WHOLE, "specs/dataset.yaml": outside(url)})
    plan = previewed(repo, {"fleets/lanes.csv": "id,store\nlane-1,a\n"})
    assert any("pin it with digest: sha256:" in note.message for note in plan.notes)
    assert asked


def test_before_anything_is_in_force_nothing_is_looked_at(tmp_path: Path, inside: tuple[str, list[str]]) -> None:
    url, asked = inside
    repo = repository(tmp_path / "repo", WHOLE)
    previewed(repo, {"specs/dataset.yaml": outside(url)}, is_first=True)
    assert asked == []


def test_a_proposal_does_not_choose_the_folders_of_delivery(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    repo = repository(tmp_path / "repo", WHOLE)
    (elsewhere / "metadata").mkdir(parents=True)
    (elsewhere / "metadata/timestamp.json").write_text("nobody's business")
    document = HEAD + "kind: Repository\nmetadata: {name: shop}\nspec:\n"
    plan = previewed(repo, {"edgewright.yaml": f"{document}  delivery: {{repository: {elsewhere}}}\n"})
    assert plan.steps, "it is planned with the folder that is in force"
