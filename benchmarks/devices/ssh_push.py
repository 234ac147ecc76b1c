"""Our side of what ``ssh`` measures: ``python -m benchmarks.devices.ssh_push WHAT PLAN``, a process each.

``prepare`` publishes a package of one file; ``edgewright`` pushes it with the driver, ``fabric`` pushes the file in a
bare loop over Fabric. PLAN is a JSON file: folder, roots, hosts, port, user, key, host_key, file, digest, at_once.
"""

import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MODEL = "reader"


def prepare(plan: dict[str, Any]) -> None:
    """Publish the file as the one layer of a package."""
    from edgewright.delivery.agent.driver import AgentDelivery
    from edgewright.delivery.repository.keys import create_keys
    from edgewright.ports import PackageContent
    from edgewright.state.store import SqlState
    from edgewright.state.twins import SqlTwins
    from edgewright_wire.canonical import canonical_json, digest_bytes
    from edgewright_wire.messages import Assignment, Blob, ModelAssignment
    from edgewright_wire.package import ARTIFACT_TYPE, CONFIG_TYPE, FILEPATH, MANIFEST_TYPE, MODEL_FILE, WEIGHT_TYPE

    folder, file = Path(plan["folder"]), Path(plan["file"])
    create_keys(folder / "keys")
    delivery = AgentDelivery(folder / "repository", folder / "reports", folder / "keys")
    delivery.create()
    (folder / "config").write_bytes(b"{}")
    config = {"mediaType": CONFIG_TYPE, "digest": digest_bytes(b"{}"), "size": 2}
    layer = {"mediaType": WEIGHT_TYPE, "digest": plan["digest"], "size": file.stat().st_size}
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": config,
            "layers": [{**layer, "annotations": {FILEPATH: MODEL_FILE}}],
        }
    )
    digest = digest_bytes(manifest)
    blobs = {str(config["digest"]): folder / "config", plan["digest"]: file}
    refused = delivery.publish([PackageContent(manifest, digest, blobs)])
    if refused:
        raise RuntimeError(f"not published: {refused}")
    target = ModelAssignment(model=MODEL, package=Blob(digest=digest, size=len(manifest)), release="measured")
    assignments = [Assignment(device=f"host-{n}", version=1, models=(target,)) for n in range(len(plan["hosts"]))]
    with SqlState(folder / "empty.db") as state:
        SqlTwins(state).change("nobody", "ssh", lambda twin: None)  # makes its tables
    (folder / "assignments.json").write_text(json.dumps([each.to_bytes().decode() for each in assignments]))


def edgewright(plan: dict[str, Any]) -> None:
    """Assign it to every host, and go to them until it is there."""
    from datetime import UTC, datetime

    from edgewright.core.fleet.routes import Route
    from edgewright.delivery.pushed.ssh.driver import SshDriver
    from edgewright.delivery.repository.depot import Depot
    from edgewright.state.store import SqlState
    from edgewright.state.twins import SqlTwins
    from edgewright_schemas.delivery import Delivery
    from edgewright_schemas.fleet import Device
    from edgewright_wire.messages import Assignment

    folder = Path(plan["folder"])
    routes = {}
    for number, host in enumerate(plan["hosts"]):
        ssh = {"atOnce": plan["at_once"], "port": plan["port"], "user": plan["user"], "key": plan["key"]}
        spec = {"type": "ssh", "proof": "installed", "root": f"{plan['roots']}/{number}", "ssh": ssh}
        own = {"host": host, "hostKey": plan["host_key"]}
        device = Device.model_validate({"id": f"host-{number}", "ssh": own})
        routes[device.id] = Route("fleet", Delivery.model_validate(spec), device)
    # A controller has its store already.
    shutil.copy(folder / "empty.db", folder / "state.db")
    state = SqlState(folder / "state.db")
    twins, news = SqlTwins(state), threading.Event()
    driver = SshDriver(
        twins,
        Depot(folder / "repository"),
        lambda: routes,
        lambda: datetime.now(UTC),
        folder / "keys",
        lambda path: b"",
    )
    wanted = [Assignment.from_bytes(text.encode()) for text in json.loads((folder / "assignments.json").read_text())]
    driver.assign(wanted, {})
    with driver.attend(news.set):
        while not all(twin.model(MODEL).installed is not None for twin in twins.twins("ssh")):
            if not news.wait(120):
                raise RuntimeError("nothing happens any more")
            news.clear()
    state.close()


def fabric(plan: dict[str, Any]) -> None:
    """Do the same by hand: upload beside, verify, switch."""
    from fabric import Connection

    def push(number: int) -> None:
        root, options = f"{plan['roots']}/{number}", {"allow_agent": False, "look_for_keys": False}
        host, user, port = plan["hosts"][number], plan["user"], plan["port"]
        with Connection(host, user=user, port=port, connect_kwargs={"key_filename": plan["key"], **options}) as there:
            there.run(f"mkdir -p {root}", hide=True)
            there.put(plan["file"], f"{root}/model.new")
            said = there.run(f"sha256sum {root}/model.new", hide=True).stdout.split()[0]
            if f"sha256:{said}" != plan["digest"]:
                raise RuntimeError(f"other bytes arrived on {host}")
            there.run(
                f"cd {root} && mv model.new model && ln -s model active.new && mv -T active.new active", hide=True
            )

    with ThreadPoolExecutor(plan["at_once"]) as pool:
        for _ in pool.map(push, range(len(plan["hosts"]))):
            pass


if __name__ == "__main__":
    does = {"prepare": prepare, "edgewright": edgewright, "fabric": fabric}[sys.argv[1]]
    does(json.loads(Path(sys.argv[2]).read_text()))
