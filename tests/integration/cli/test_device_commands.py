"""``edgewright devices``: who waits, who is let in, who is sent away; tokens and certificates."""

import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from devices.http_agents import Key, csr, new_key
from edgewright.delivery.identity.credentials import create_credentials, load_devices_ca
from edgewright.delivery.identity.enrollment import Enrollment, EnrollmentOutcome
from edgewright.ports import Identity, IdentityStatus
from edgewright.services.device_status import PAGE
from edgewright.state.twins import SqlIdentities, SqlInbox
from edgewright.wiring.workspace import Workspace
from edgewright_wire.enrollment import EnrollmentRequest, IssuedCertificate
from edgewright_wire.messages import Assignment, Report
from harness.command_line import HEAD, ROWS, WHOLE, edgewright, edgewright_as, repository

FLEETS = {
    **WHOLE,
    "specs/fleet.yaml": HEAD + "kind: Fleet\nmetadata: {name: lanes}\nspec:\n  inventory: fleets/lanes.csv\n"
    "  overrides: [{select: {matchLabels: {store: b}}, delivery: {type: mender, "
    "mender: {module: directory}}}]\n---\n" + HEAD + "kind: Fleet\nmetadata: {name: chosen}\n"
    "spec: {selector: {matchLabels: {region: eu}}}\n---\n" + HEAD + "kind: Fleet\nmetadata: {name: boards}\n"
    "spec: {inventory: [{id: board-1}], delivery: {type: ddi}}\n",
    "data/tags.csv": ROWS,
}


class Shop:
    """A repository with devices that come by HTTP to its controller."""

    def __init__(self, folder: Path) -> None:
        self.root = repository(folder, FLEETS)
        self.workspace = Workspace(self.root)
        create_credentials(self.workspace.keys)
        self.state = self.workspace.state
        self.identities = SqlIdentities(self.state)
        self.enrollment = Enrollment(
            self.identities,
            self.state,
            lambda: load_devices_ca(self.workspace.keys),
            lambda device: False,
            lambda: datetime.now(UTC),
        )

    def ask(self, key: Key, device: str, token: str | None = None, **labels: str) -> EnrollmentOutcome:
        asked = EnrollmentRequest(device=device, labels=labels, csr=csr(key, device), token=token, device_class="lane")
        return self.enrollment.enroll(asked, "192.0.2.7")

    def run(self, *arguments: str) -> Any:
        return edgewright(self.root, "devices", *arguments)

    def statuses(self, device: str) -> list[str]:
        return [key.status.value for key in self.identities.identities(device=device)]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path / "shop")
    yield made
    made.state.close()


def test_a_device_that_waits_is_shown_and_approved(shop: Shop) -> None:
    shop.run("pending").expect(0, "no keys wait for approval")
    key = new_key()
    shop.ask(key, "lane-7", region="eu", note="[red]x")
    (row,) = shop.run("pending", "-o", "json").expect(0).json()
    assert (row["device"], row["system"], row["from"], row["labels"]["region"]) == (
        "lane-7",
        "agent",
        "192.0.2.7",
        "eu",
    )
    shop.run("pending").expect(0, row["key"], "note=[red]x", "192.0.2.7")

    shop.run("approve", "lane-7", "--label", "ring=canary").expect(0, f"lane-7: key {row['key']} is accepted")

    assert shop.ask(key, "lane-7").status == 200
    assert shop.state.enrolled() == {"lane-7": {"region": "eu", "note": "[red]x", "ring": "canary"}}
    shop.run("pending").expect(0, "no keys wait for approval")
    shop.run("approve", "lane-7").expect(1, "no key of device lane-7 waits", "(accepted)")
    (row,) = shop.run("list", "--fleet", "chosen", "-o", "json").expect(0).json()
    assert row["device"] == "lane-7"


def test_of_several_keys_that_ask_in_one_name_one_has_to_be_named(shop: Shop) -> None:
    mine, other = new_key(), new_key()
    shop.ask(mine, "lane-7")
    (first,) = (row["key"] for row in shop.run("pending", "-o", "json").json())
    shop.ask(other, "lane-7")

    refused = shop.run("approve", "lane-7").expect(1, "has several keys", "--fingerprint")
    assert first[:23] in refused.said
    shop.run("approve", "lane-7", "--fingerprint", "sha256:0000").expect(1, "has no such key", "somebody else asks")
    shop.run("approve", "lane-9").expect(1, "no key of device lane-9 waits", "devices pending")
    assert set(shop.statuses("lane-7")) == {"pending"}

    shop.run("approve", "lane-7", "--fingerprint", first[7:19].upper()).expect(0, first)
    shop.run("reject", "lane-7", "-o", "json").expect(0)
    assert shop.ask(mine, "lane-7").status == 200
    assert shop.ask(other, "lane-7").status == 403


def test_a_second_key_is_shown_with_the_one_it_would_replace(shop: Shop) -> None:
    old, new = new_key(), new_key()
    shop.ask(old, "lane-7")
    shop.run("approve", "lane-7").expect(0)
    (known,) = shop.identities.identities(device="lane-7")
    shop.ask(new, "lane-7")
    (row,) = shop.run("pending", "-o", "json").json()
    assert row["otherKey"] == known.key
    shop.run("pending").expect(0, f"accepted until now: {known.key[:15]}")

    done = shop.run("approve", "lane-7", "-o", "json").expect(0).json()

    assert done["retired"] == [known.key]
    assert shop.ask(old, "lane-7").status == 403


def test_a_device_whose_token_was_not_accepted_is_told_from_one_without(shop: Shop) -> None:
    shop.ask(new_key(), "lane-7", token="ewt_nonsense")
    shop.ask(new_key(), "lane-8")
    shop.run("pending").expect(0, "token not accepted: unknown")
    rows = shop.run("pending", "-o", "json").json()
    assert {row["device"]: row["tokenProblem"] for row in rows} == {"lane-7": "unknown", "lane-8": None}


def test_a_mender_clients_key_is_approved_as_the_inventorys_device(shop: Shop) -> None:
    now = datetime.now(UTC)
    shop.identities.ask(
        Identity(
            "mender", "02-00-00-00-00-07", "sha256:" + "a" * 64, IdentityStatus.PENDING, now, labels={"mac": "02:00"}
        )
    )
    shop.identities.ask(Identity("ddi", "lane-3", "sha256:" + "b" * 64, IdentityStatus.PENDING, now))
    shop.run("pending").expect(0, "mender", "ddi")

    shop.run("approve", "02-00-00-00-00-07", "--as", "lane-2").expect(0, "lane-2: key", "(mender)")
    shop.run("approve", "lane-3", "--as", "lane-4").expect(1, "cannot be accepted for lane-4")
    shop.run("approve", "lane-3").expect(0)

    assert shop.statuses("lane-2") == ["accepted"]
    assert shop.statuses("lane-3") == ["accepted"]
    assert shop.state.enrolled()["lane-2"] == {"mac": "02:00"}


def test_devices_are_enrolled_by_hand_and_chosen_by_label(shop: Shop) -> None:
    shop.run("enroll", "lane-8", "--label", "region=eu", "--label", "note=a=b").expect(0, "lane-8: enrolled with")
    shop.run("enroll", "lane-8", "--label", "region=eu").expect(0, "enrolled anew")
    assert shop.state.enrolled() == {"lane-8": {"region": "eu"}}
    for bad in ("../x", "-lane", "a b", "x" * 200):
        shop.run("enroll", "--", bad).expect(1, "not a device id")
    shop.run("enroll", "lane-8", "--label", "nonsense").expect(1, "region=eu")
    rows = {row["device"]: row for row in shop.run("list", "--fleet", "chosen", "-o", "json").expect(0).json()}
    assert rows["lane-8"]["labels"] == {"region": "eu"}


def test_the_list_says_how_each_device_is_reached_and_what_it_can_prove(shop: Shop) -> None:
    SqlInbox(shop.state).put([Report(device="stray", sequence=1, sent_at=datetime.now(UTC), agent_version="1")])
    rows = {row["device"]: row for row in shop.run("list", "-o", "json").expect(0).json()}
    assert (rows["lane-1"]["system"], rows["lane-1"]["proof"]) == ("agent", "verified")
    assert (rows["lane-2"]["system"], rows["lane-2"]["proof"]) == ("mender", "installed")
    assert (rows["stray"]["fleet"], rows["stray"]["system"]) == (None, None)
    shop.run("list").expect(0, "SYSTEM", "PROOF", "mender", "installed")


# ── sending away ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_is_retired_is_believed_no_more_and_given_nothing_more(shop: Shop) -> None:
    key, waiting = new_key(), new_key()
    shop.ask(key, "lane-7", region="eu")
    shop.run("approve", "lane-7").expect(0)
    shop.ask(waiting, "lane-7")
    delivery = shop.workspace.delivery(shop.workspace.source.snapshot())
    delivery.assign([Assignment(device="lane-7", version=1), Assignment(device="lane-1", version=1)], {})

    shop.run("retire", "lane-7").expect(0, "1 key retired", "no longer enrolled", "assignment removed")

    assert sorted(shop.statuses("lane-7")) == ["rejected", "retired"]
    assert (shop.ask(key, "lane-7").status, shop.ask(waiting, "lane-7").status) == (403, 403)
    assert shop.state.enrolled() == {}
    assert delivery.assigned() == {"lane-1": 1}
    (again,) = shop.run("retire", "lane-7", "-o", "json").expect(0).json()
    assert again == {
        "device": "lane-7",
        "keysRetired": [],
        "unenrolled": False,
        "assignmentRemoved": False,
        "listedIn": [],
    }
    shop.run("retire", "lane-1").expect(0, "still listed in the inventory of fleet/lanes", "no key")
    shop.run("retire", "lane-1", "nobody").expect(1, "unknown devices: nobody")


def test_without_the_online_key_a_retired_device_is_believed_no_more_all_the_same(shop: Shop) -> None:
    key = new_key()
    shop.ask(key, "lane-7")
    shop.run("approve", "lane-7").expect(0)
    shop.workspace.delivery(shop.workspace.source.snapshot()).assign([Assignment(device="lane-7", version=1)], {})
    (shop.workspace.keys / "online.pem").rename(shop.workspace.keys / "away.pem")

    shop.run("retire", "lane-7").expect(1, "could not be removed", "1 key retired", "online key is not here")

    assert shop.ask(key, "lane-7").status == 403
    (shop.workspace.keys / "away.pem").rename(shop.workspace.keys / "online.pem")
    shop.run("retire", "lane-7").expect(0, "assignment removed")


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_token_is_shown_once_lets_agents_in_and_is_listed_and_revoked(shop: Shop) -> None:
    made = shop.run("token", "--uses", "2", "--expires", "2h", "--label", "region=eu").expect(0)
    token = made.stdout.strip()
    assert token.startswith("ewt_")
    assert token not in made.stderr
    assert shop.ask(new_key(), "lane-7", token).status == 200
    assert shop.state.enrolled() == {"lane-7": {"region": "eu"}}

    listed = shop.run("token", "--list").expect(0, "1 of 2", "region=eu", "lane-7")
    assert token not in listed.said
    (row,) = shop.run("token", "--list", "-o", "json").json()
    assert (row["uses"], row["admitted"], row["problem"]) == (2, ["lane-7"], None)
    shop.run("token", "--revoke", row["name"]).expect(0, "is revoked")
    assert shop.ask(new_key(), "lane-8", token).status == 202
    assert shop.run("token", "--list", "-o", "json").json()[0]["problem"] == "revoked"
    shop.run("token", "--revoke", "nobody").expect(1, "--list")
    one = shop.run("token", "-o", "json").expect(0).json()
    assert (one["uses"], one["token"][:4]) == (1, "ewt_")


def test_tokens_of_hawkbit_devices_and_gateways_are_made(shop: Shop) -> None:
    from edgewright.delivery.served.ddi.authentication import token_key

    first = shop.run("token", "board-1").expect(0, "TargetToken of board-1").stdout.strip()
    second = shop.run("token", "board-1", "-o", "json").expect(0).json()["token"]
    gateway = shop.run("token", "--gateway", "site-7").expect(0, "GatewayToken").stdout.strip()
    found = {key.key: (key.system, key.status.value) for key in shop.identities.identities()}
    assert found[token_key(first)] == ("ddi", "retired")
    assert found[token_key(second)] == ("ddi", "accepted")
    assert found[token_key(gateway)] == ("ddi-gateway", "accepted")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("bord-1", ("no fleet has a device bord-1", "did you mean board-1?")),
        ("lane-1", ("lane-1 of fleet/lanes is reached by agent", "names no device: edgewright devices token")),
        ("lane-2", ("lane-2 of fleet/lanes is reached by mender", "devices list")),
    ],
)
def test_no_hawkbit_token_is_made_for_a_device_that_it_would_not_let_in(
    shop: Shop, device: str, words: tuple[str, ...]
) -> None:
    shop.run("token", device).expect(1, *words)
    assert shop.identities.identities() == []


def test_a_device_that_was_enrolled_by_hand_gets_a_hawkbit_token(tmp_path: Path) -> None:
    fleet = HEAD + "kind: Fleet\nmetadata: {name: boards}\nspec:\n  selector: {matchLabels: {kind: board}}\n"
    delivery = "  delivery: {type: ddi}\n"
    root = repository(tmp_path / "shop", {**FLEETS, "specs/boards.yaml": (fleet + delivery).replace("boards", "more")})
    edgewright(root, "devices", "token", "board-9").expect(1, "no fleet has")
    edgewright(root, "devices", "enroll", "board-9", "--label", "kind=board").expect(0)
    edgewright(root, "devices", "token", "board-9").expect(0, "TargetToken of board-9")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--expires", "soon"), "soon"),
        (("--expires", "1s"), "too short"),
        (("--expires", "999d"), "too long"),
        (("lane-9", "--list"), "one of"),
        (("--label", "x"), "is not written as KEY=VALUE"),
    ],
)
def test_options_of_tokens_that_are_wrong_are_refused(shop: Shop, arguments: tuple[str, ...], words: str) -> None:
    shop.run("token", *arguments).expect(1, words)


# ── certificates ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_servers_certificate_is_made_where_there_is_none(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "tls"
    shop.run("server-certificate", "edge.example.com", "127.0.0.1", "--out", str(out)).expect(0, "wrote server.key")
    assert stat.S_IMODE((out / "server.key").stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(out / "server.crt", out / "server.key")
    assert (out / "ca.crt").read_bytes() == load_devices_ca(shop.workspace.keys).certificate_pem
    before = (out / "server.key").read_bytes()
    shop.run("server-certificate", "a.example.com", "--out", str(out)).expect(1, "already", "--replace")
    assert (out / "server.key").read_bytes() == before
    shop.run("server-certificate", "a.example.com", "--out", str(out), "--replace", "-o", "json").expect(0)
    assert (out / "server.key").read_bytes() != before
    shop.run("server-certificate", "https://x", "--out", str(tmp_path / "other")).expect(1, "without https://")
    assert not (tmp_path / "other").exists()


def test_without_the_authority_the_way_to_it_is_said(shop: Shop, tmp_path: Path) -> None:
    (shop.workspace.keys / "devices-ca.pem").unlink()
    (shop.workspace.keys / "devices-ca.crt").unlink()
    shop.run("server-certificate", "x", "--out", str(tmp_path / "tls")).expect(1, "init", "--keys-only")


def test_a_repository_with_environments_wants_one_named(tmp_path: Path) -> None:
    declared = HEAD + (
        "kind: Repository\nmetadata: {name: shop}\nspec:\n  environments:\n"
        "    - {name: east, follow: {branch: main}}\n    - {name: west, follow: {branch: main}}\n"
    )
    root = repository(tmp_path / "shop", {**FLEETS, "edgewright.yaml": declared})
    for command in (["pending"], ["approve", "lane-7"], ["enroll", "lane-7"], ["retire", "lane-7"], ["token"]):
        edgewright(root, "devices", *command).expect(1, "declares environments: east, west", "--env")
    edgewright(root, "devices", "enroll", "lane-7", "--env", "east").expect(0)
    assert Workspace(root, env="east").state.enrolled() == {"lane-7": {}}
    assert Workspace(root, env="west").state.enrolled() == {}


def test_each_command_has_help_with_an_example(shop: Shop) -> None:
    for command in ("list", "pending", "approve", "reject", "enroll", "retire", "token", "server-certificate"):
        edgewright_as(["edgewright", "devices", command, "--help"]).expect(
            0, "Example", f"edgewright devices {command}"
        )


def test_certificates_hold_as_long_as_is_asked(shop: Shop) -> None:
    key = new_key()
    shop.ask(key, "lane-7")
    shop.run("approve", "lane-7").expect(0)
    issued = shop.ask(key, "lane-7").said
    assert isinstance(issued, IssuedCertificate)
    assert timedelta(days=6) < issued.not_after - datetime.now(UTC) < timedelta(days=8)


def test_a_list_of_several_pages_has_every_device_once_with_its_report(tmp_path: Path) -> None:
    names = [f"lane-{number:04}" for number in range(2 * PAGE + 1)]
    fleet = HEAD + "kind: Fleet\nmetadata: {name: lanes}\nspec: {inventory: fleets/lanes.csv}\n"
    root = repository(tmp_path, {"specs/fleet.yaml": fleet, "fleets/lanes.csv": "\n".join(["id", *names, ""])})
    told = [names[0], names[PAGE], names[-1]]
    now = datetime.now(UTC)
    reports = [Report(device=name, sequence=1, sent_at=now, agent_version="1") for name in (*told, "stranger")]
    Workspace(root).state.record_reports(reports, now)

    rows = edgewright(root, "devices", "list", "-o", "json").expect(0).json()

    assert [row["device"] for row in rows] == [*names, "stranger"]
    assert [row["device"] for row in rows if row["lastSeen"]] == [*told, "stranger"]
    assert edgewright(root, "devices", "list", "--fleet", "lanes").expect(0).stdout.count("\n") == len(names) + 1
    assert edgewright(root, "status", "--devices", "-o", "json").expect(0).json()[-1]["device"] == names[-1]
