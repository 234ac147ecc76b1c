"""The agent against the engine's own writer of repositories: both sides of the layout, together."""

from datetime import UTC, datetime
from pathlib import Path

from edgewright.delivery.agent.driver import AgentDelivery
from edgewright.delivery.repository.keys import create_keys
from edgewright.ports import PackageContent
from edgewright_wire.canonical import digest_bytes, hex_of
from edgewright_wire.messages import Phase
from fakes.agent_ports import Device
from samples.agent_packages import PackageFiles, a_package, assignment, target

DEVICES = [f"lane-{number}" for number in range(3)]


def content(folder: Path, package: PackageFiles) -> PackageContent:
    folder.mkdir(parents=True, exist_ok=True)
    blobs = {}
    for digest, data in package.blobs.items():
        blobs[digest] = folder / hex_of(digest)
        blobs[digest].write_bytes(data)
    return PackageContent(package.manifest, package.digest, blobs)


def test_what_the_engine_publishes_devices_run_and_what_devices_report_the_engine_collects(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    delivery = AgentDelivery(tmp_path / "repository", tmp_path / "reports", tmp_path / "keys")
    delivery.create()
    root = (tmp_path / "repository" / "metadata" / "1.root.json").read_bytes()
    devices = [Device(tmp_path / name / "device", tmp_path / "repository", root, device=name) for name in DEVICES]
    for version in (1, 2, 3):
        package = a_package(version)
        config = b"threshold = 0.%d\n" % version
        wanted = target(package, config=config)
        delivery.publish([content(tmp_path / "blobs", package)])
        delivery.assign([assignment(name, version, wanted) for name in DEVICES], {digest_bytes(config): config})
        for device in devices:
            report = device.poll()
            assert report.reason == ""
            assert (report.models[0].phase, report.models[0].verified) == (Phase.VERIFIED, package.digest)
            (tmp_path / "reports").mkdir(exist_ok=True)
            (tmp_path / "reports" / f"{report.device}.json").write_bytes(report.to_bytes())
        seen = {report.device: report for report in delivery.observe({})}
        assert set(seen) == set(DEVICES)
        assert all(report.assignment_version == version for report in seen.values())
        assert all(report.sent_at < datetime.now(UTC).replace(year=9000) for report in seen.values())

    delivery.retire(DEVICES[:1])
    assert devices[0].poll().models[0].phase is Phase.VERIFIED, "a device nobody assigns anything to keeps what it has"
