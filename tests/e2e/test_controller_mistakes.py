"""What people do wrong with a controller, as whole processes: it says so, and what is good stays."""

from pathlib import Path

import httpx
import pytest

from e2e.controllers import Served
from e2e.fleet import wait_for
from edgewright.state.store import SqlState
from harness.command_line import DATA_ONLY, DATASET
from samples.repositories import run_git
from servers.git_server import GitServer
from worlds.controlled_shop import SOON, Small

pytestmark = pytest.mark.e2e
HEAD = "apiVersion: edgewright.dev/v1alpha1\nkind: Repository\nmetadata: {name: shop}\n"


def test_mistakes_are_said_and_what_is_good_stays(tmp_path: Path) -> None:
    with GitServer(tmp_path / "remotes", trouble="500") as remotes:
        shop = Small(tmp_path, remotes)
        state = str(shop.state)
        with shop.fleet, shop.serve() as served:
            # Not there at first: nothing to work with, and alive.
            wait_for("a warning", lambda: "cannot fetch" in served.running.text(), why=served.running.text)
            assert httpx.get(f"{served.url}/healthz", timeout=30).status_code == 200
            assert httpx.get(f"{served.url}/readyz", timeout=30).status_code == 503
            assert httpx.post(f"{served.url}/hooks/github", json={}, timeout=30).status_code >= 400, "no secret is set"
            remotes.trouble = ""
            shop.wait_status(state, "Ready")
            assert served.ready()["ready"]

            good = run_git(shop.root, "rev-parse", "HEAD")
            shop.change({"specs/dataset.yaml": DATASET.replace("uri:", "url:")})
            message = shop.wait_status(state, "Stalled", "SpecInvalid")["message"]
            assert "specs/dataset.yaml:5:" in message
            assert f"{good[:12]} is in force" in message
            said = shop.fleet.edgewright("status", "--repo", shop.url, "--state", state, "--ref", good).expect(0)
            assert "SpecInvalid" in said.stdout
            shop.change({"specs/dataset.yaml": DATASET})
            shop.wait_status(state, "Ready")

            run_git(shop.root, "commit", "-q", "--amend", "-m", "Something else")
            shop.change()
            wait_for(
                "the rewritten branch", lambda: "RevisionTaken" in served.running.text().rsplit("SpecInvalid", 1)[-1]
            )
            remotes.trouble = "500"
            message = shop.wait_status(state, "Reconciling", "SourceUnavailable")["message"]
            assert "is in force" in message
            assert "Secret" not in message
            remotes.trouble = ""
            shop.wait_status(state, "Ready")

            # Reconciliation is suspended: it says what it would do, and does nothing.
            built = len(_done(shop))
            suspend = HEAD + "spec: {reconciliation: {suspend: true}}\n"
            shop.change({"edgewright.yaml": suspend, "data/tags.csv": DATA_ONLY["data/tags.csv"] + "1,a,x\n"})
            wait_for("Suspended", lambda: _condition(shop, "dataset") == "Suspended", why=shop.fleet.logs)
            assert len(_done(shop)) == built
            shop.change({"edgewright.yaml": HEAD})
            wait_for("the dataset", lambda: len(_done(shop)) == built + 1, why=shop.fleet.logs)

            _environments_come_and_go(shop, served)
            assert served.ready()["ready"], served.ready()
            served.running.ask()
            assert served.running.wait(SOON) == 0
            assert "Traceback" not in served.running.text()


def _environments_come_and_go(shop: Small, served: Served) -> None:
    """One is dropped, the other's branch goes away."""
    state = str(shop.state)
    both = "  environments:\n    - {name: a, follow: {branch: main}}\n    - {name: b, follow: {branch: live}}\n"
    run_git(shop.root, "push", "-q", "origin", "main:live")
    shop.change({"edgewright.yaml": HEAD + "spec:\n" + both})
    run_git(shop.root, "push", "-q", "-f", "origin", "main:live")
    for env in "ab":
        shop.wait_status(state, "Ready", env=env)
    run_git(shop.root, "push", "-q", "origin", ":live")
    message = shop.wait_status(state, "Stalled", "RefMissing", env="b")["message"]
    assert "live" in message
    assert "is in force" in message
    only = "  environments:\n    - {name: b, follow: {branch: main}}\n"
    shop.change({"edgewright.yaml": HEAD + "spec:\n" + only})
    wait_for("a to be let go", lambda: "no longer declared" in served.running.text(), why=shop.fleet.logs)
    shop.wait_status(state, "Ready", env="b")


def _done(shop: Small) -> list[str]:
    with SqlState(shop.state / "state.db") as state:
        return [event.message for event in state.events(limit=1000) if event.reason == "StepDone"]


def _condition(shop: Small, kind: str) -> str | None:
    with SqlState(shop.state / "state.db") as state:
        kept = state.conditions()
    found = (one for a, conditions in kept.items() if a.kind == kind for one in conditions if one.status == "True")
    return next((one.reason for one in found), None)


def test_what_cannot_be_served_ends_with_what_to_do(tmp_path: Path) -> None:
    with GitServer(tmp_path / "remotes", username="shop", password="right") as remotes:
        shop = Small(tmp_path, remotes)
        wrong = {"EDGEWRIGHT_GIT_USERNAME": "shop", "EDGEWRIGHT_GIT_PASSWORD": "wr0ng-one"}
        with shop.fleet, shop.serve(**wrong) as served:
            wait_for("a warning", lambda: "cannot fetch" in served.running.text(), why=served.running.text)
            assert not served.ready()["ready"]
            assert "EDGEWRIGHT_GIT_PASSWORD" in served.running.text()
            assert "wr0ng-one" not in served.running.text()
            port = served.url.rpartition(":")[2]
            taken = shop.fleet.edgewright("serve", "--repo", str(shop.root), "--port", port, seconds=60).expect(1)
            assert "another program listens there" in taken.stderr
            assert "Traceback" not in taken.stderr + served.running.text()
        nothing = shop.fleet.edgewright("serve", "--repo", str(tmp_path / "nowhere"), "--port", "0", seconds=60)
        assert nothing.expect(1).stderr.count("Traceback") == 0
