"""The controller as whole processes: promotion, crashes, failover, and everything people do wrong."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.controllers import Served
from e2e.fleet import Fleet, wait_for
from edgewright.core.artifact import Action
from edgewright.core.facts import TrainingFacts
from edgewright.pipeline.training.checkpoint import load_checkpoint
from edgewright.state.store import SqlState
from samples.repositories import run_git
from servers.forge.server import ForgeServer
from servers.git_server import GitServer
from servers.postgresql import PostgresqlServer
from worlds.controlled_shop import SOON, Small

pytestmark = pytest.mark.e2e
MODEL = "shelf-stock"
SECRET = "It's a Secret to Everybody"
KILLED = -signal.SIGKILL


class Shop:
    """The repository that ``edgewright init`` writes, on a server, with few devices."""

    def __init__(self, folder: Path, remotes: GitServer, *, environments: tuple[str, ...] = ()) -> None:
        root = folder / "shop"
        self.fleet = Fleet(root, folder)
        self.fleet.root = folder
        self.fleet.edgewright("init", "shop").expect(0)
        self.fleet.root = root
        self.state = root / ".edgewright"
        if environments:
            self._declare(environments)
        else:
            self._shrink(root / "fleets/stores.csv", 2)
        self.fleet.commit("Make it small")
        for name in environments:
            self.fleet.edgewright("init", ".", "--keys-only", "--env", name).expect(0)
        remotes.add(root, "acme/shop.git")
        self.url = remotes.url("acme/shop.git")

    def _declare(self, environments: tuple[str, ...]) -> None:
        """Environments with a fleet of one device each; the first follows main, the others releases."""
        fleet = self.fleet
        lines = ["  environments:"]
        for number, name in enumerate(environments):
            follow = 'semver: ">=1.0.0"' if number else "branch: main"
            lines.append(f"    - {{name: {name}, follow: {{{follow}}}, values: {{site: {name}}}}}")
            inventory = fleet.root / f"fleets/{name}.csv"
            inventory.write_text(f"id,store,ring,class\n{name}-1,lyon,canary,shelf-sensor\n")
        (fleet.root / "fleets/stores.csv").unlink()
        fleet.edit("fleets/stores.yaml", "fleets/stores.csv", "fleets/${site}.csv")
        with (fleet.root / "edgewright.yaml").open("a") as file:
            file.write("\n".join(lines) + "\n")

    @staticmethod
    def _shrink(inventory: Path, devices: int) -> None:
        inventory.write_text("".join(inventory.read_text().splitlines(keepends=True)[: devices + 1]))

    def serve(self, *arguments: str, state: str = "", **variables: str) -> Served:
        where = ("--repo", self.url, "--state", state or str(self.state))
        return Served(self.fleet, *where, "--interval", "1s", *arguments, **variables)

    def edgewright(self, command: str, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return self.fleet.edgewright(*command.split(), *arguments, "-o", "json").expect(0).json()

    def push(self, *refs: str) -> str:
        run_git(self.fleet.root, "push", "-q", "-f", "origin", *(refs or ("main",)))
        return run_git(self.fleet.root, "rev-parse", "HEAD")

    def start_agent(self, environment: str) -> None:
        folder = self.state / "environments" / environment
        device = self.fleet.set_up(
            f"{environment}-1",
            device_class="shelf-sensor",
            options=(
                *("--repository", str(folder / "repository"), "--reports", str(folder / "reports")),
                *("--root", str(folder / "repository/metadata/root.json")),
            ),
        )
        device.start()

    def verified(self, environment: str, *, other_than: str | None = None) -> str:
        """Wait until the devices of an environment run one verified package; returns its digest."""

        def probe() -> str | None:
            rows = self.edgewright("devices list", "--env", environment)
            found = {m["verified"] for row in rows for m in row["models"] if m["model"] == MODEL}
            only = found.pop() if len(found) == 1 else None
            return only if only != other_than else None

        return wait_for(f"{MODEL} verified in {environment}", probe, why=self.fleet.logs)

    def done(self, action: str, *environments: str) -> int:
        """How often steps of a kind were done, over environments."""
        count = 0
        for name in environments or ("",):
            with SqlState(self.state / "state.db", environment=name) as state:
                events = state.events(limit=10_000)
            count += sum(e.reason == "StepDone" and e.message.startswith(action + " ") for e in events)
        return count


def test_promoting_is_moving_a_version_and_trains_nothing(tmp_path: Path) -> None:
    with GitServer(tmp_path / "remotes") as remotes:
        shop = Shop(tmp_path, remotes, environments=("staging", "production"))
        both = ("staging", "production")
        run_git(shop.fleet.root, "tag", "v1.0.0")
        shop.push("main", "v1.0.0")
        with shop.fleet, shop.serve() as served:
            for name in both:
                shop.start_agent(name)
            first = shop.verified("staging")
            assert shop.verified("production") == first, "at the same commit, the same package"
            for action in ("build-dataset", "train", "export", "evaluate", "package"):
                assert shop.done(action, *both) == 1, f"{action} is done once for both"

            shop.fleet.edit(f"models/{MODEL}.yaml", "learningRate: 0.01", "learningRate: 0.012")
            shop.fleet.commit("Learn faster")
            newer = shop.push()
            second = shop.verified("staging", other_than=first)
            assert shop.verified("production") == first
            assert shop.edgewright("status", "--env", "staging")["commit"] == newer
            assert shop.edgewright("status", "--env", "production")["commit"] != newer
            assert shop.done("train", *both) == 2

            run_git(shop.fleet.root, "tag", "v1.1.0")
            shop.push("v1.1.0")
            assert shop.verified("production", other_than=first) == second
            assert shop.done("train", *both) == 2, "promoting trains nothing"
            for name in both:
                assert not shop.edgewright("plan", "--env", name)["steps"]
                status = shop.edgewright("status", "--env", name)
                assert (status["environment"], status["commit"]) == (name, newer)
                devices = [row["device"] for row in shop.edgewright("devices list", "--env", name)]
                assert devices == [f"{name}-1"], "each has its own fleet"
            assert httpx.get(f"{served.url}/healthz", timeout=30).json()["alive"]
            assert "Traceback" not in served.running.text()


def test_what_a_killed_controller_left_the_next_one_finishes(tmp_path: Path) -> None:
    with GitServer(tmp_path / "remotes") as remotes:
        shop = Shop(tmp_path, remotes)
        fleet = shop.fleet
        model = fleet.root / f"models/{MODEL}.yaml"
        text = re.sub(r"epochs: \d+", "epochs: 120", model.read_text())
        model.write_text(re.sub(r"\n    earlyStopping: .*", "", text))
        fleet.commit("Train for long")
        shop.push()
        with fleet:
            # Killed in the middle of training.
            with shop.serve() as first:
                first.wait_role("active")
                begun = wait_for("epochs", lambda: _epochs(shop, 3), why=first.running.text)
                assert httpx.get(f"{first.url}/healthz", timeout=30).status_code == 200
                assert first.ready()["ready"]
                os.kill(first.running.process.pid, signal.SIGKILL)
                assert first.running.wait() == KILLED
            # Asked to end in the middle of training.
            with shop.serve() as second:
                wait_for("training", lambda: "train model/" in second.running.text(), why=second.running.text)
                more = wait_for("more epochs", lambda: _epochs(shop, len(begun) + 3), why=second.running.text)
                assert more[: len(begun)] == begun, "what was trained is not trained again"
                second.running.ask()
                assert second.running.wait(SOON) == 0, second.running.text()
                assert second.log()[-1]["event"] == "stopped"
            # Killed in the middle of the rollout.
            fleet.start_agents()
            with shop.serve() as third:
                wait_for("a device", lambda: "DeviceVerified" in third.running.text(), why=fleet.logs)
                third.running.kill()
            with shop.serve() as last:
                fleet.wait_verified(MODEL)
                wait_for("everything to be done", lambda: not fleet.plan()["steps"], why=fleet.logs)
                last.running.ask()
                assert last.running.wait(SOON) == 0
            with SqlState(shop.state / "state.db") as state:
                (trained,) = [a for a in state.artifacts().values() if a.action is Action.TRAIN]
                assert trained.facts_as(TrainingFacts).epochs == 120
                assert not state.open_intents()
            assert len(fleet.happened("DeviceVerified")) == len(fleet.devices), "each device was verified once"
            assert shop.done("train") == 1
            assert all("Traceback" not in served.running.text() for served in (first, second, third, last))


def _epochs(shop: Shop, least: int) -> list[Any] | None:
    """The history of the training under way, once it is so long."""
    for folder in (shop.state / "work").glob("*/checkpoint"):
        found = load_checkpoint(folder, fingerprint=_fingerprint(shop, folder.parent.name), device="cpu")
        if found is not None and len(found.history) >= least:
            return list(found.history)
    return None


def _fingerprint(shop: Shop, work: str) -> str:
    with SqlState(shop.state / "state.db") as state:
        intents = [i.name.partition(":")[2] for i in state.open_intents()]
    return next((name for name in intents if name.removeprefix("sha256:").startswith(work)), "")


def test_a_controller_ends_at_once_while_the_remote_keeps_it_waiting(tmp_path: Path) -> None:
    with GitServer(tmp_path / "remotes", trouble="hang") as remotes:
        shop = Small(tmp_path, remotes)
        with shop.fleet, shop.serve() as served:
            assert remotes.arrived.wait(60)
            assert httpx.get(f"{served.url}/healthz", timeout=30).status_code == 200
            assert httpx.get(f"{served.url}/readyz", timeout=30).status_code == 503
            served.running.ask()
            assert served.running.wait(SOON) == 0
            assert "Traceback" not in served.running.text()
            remotes.release()


@pytest.mark.xdist_group("postgresql")
def test_a_standby_takes_over_and_passes_on_what_it_is_told(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    with ForgeServer("github") as forge, GitServer(tmp_path / "remotes") as remotes:
        shop = Small(tmp_path, remotes)
        database = postgresql.fresh()

        def serve() -> Served:
            secret = {"EDGEWRIGHT_WEBHOOK_SECRET": SECRET, "EDGEWRIGHT_HOME": str(tmp_path / "kept")}
            return shop.serve("--interval", "1h", state=database, **secret)

        with shop.fleet, serve() as first:
            first.wait_role("active")
            shop.wait_status(database, "Ready")
            with serve() as second:
                second.wait_role("standby")
                assert second.ready()["ready"]
                for served in (second, first):
                    made = shop.change()
                    answer = forge.deliver(f"{served.url}/hooks/github", "push", SECRET, ref="refs/heads/main")
                    assert answer.status_code == 202, answer.text
                    _wait_taken(first, made)
                assert second.ready()["role"] == "standby"
                first.running.kill()
                second.wait_role("active")
                made = shop.change()
                forge.deliver(f"{second.url}/hooks/github", "push", SECRET, ref="refs/heads/main")
                _wait_taken(second, made)
        assert (tmp_path / "kept/blobs").is_dir()


def _wait_taken(served: Served, revision: str) -> None:
    taken = f"revision {revision[:12]} is in force"
    wait_for(taken, lambda: taken in served.running.text(), why=served.running.text)
