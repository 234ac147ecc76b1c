"""Who agents are, over real TLS: real agents enroll, report, renew and are retired; others are refused."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from devices.http_agents import Reporter, Stranger, opener, said
from edgewright.errors import EdgewrightError
from edgewright.ports import IdentityStatus
from edgewright.server.devices.peers import Peers, parse_peers
from edgewright_agent.errors import NotEnrolled
from edgewright_wire.messages import Assignment, Phase
from fakes.agent_ports import Device
from rigs.base import content_of
from samples.agent_packages import a_package, target
from servers.agent_server import PATIENCE, AgentSite, base, kept

SECURE = Peers()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AgentSite]:
    made = AgentSite(tmp_path / "site")
    yield made
    made.close()


def test_an_agent_goes_from_nothing_to_a_verified_update_and_is_retired(site: AgentSite, tmp_path: Path) -> None:
    with site.served(SECURE, tls=True) as serving:
        folder = tmp_path / "device"
        way = opener(site, folder, base(serving))
        reporter = Reporter(way)
        assert reporter.refused() == "EnrollmentPending"
        site.decide("lane-1")
        reporter.again()

        package = a_package(1)
        assert site.repository.publish([content_of(package, tmp_path / "blobs")]) == {}
        site.repository.assign([Assignment(device="lane-1", version=1, models=(target(package),))], {})
        root = (site.published / "metadata/root.json").read_bytes()
        device = Device(folder, site.published, root, device="lane-1", reader=way.repository(), reports=reporter.drop)
        device.sleep(3.0)
        device.work()

        (report,) = site.inbox.newer({})
        assert (report.device, report.reason) == ("lane-1", "")
        assert (report.models[0].phase, report.models[0].verified) == (Phase.VERIFIED, package.digest)
        assert site.state.enrolled() == {}, "deciding alone enrolls nobody; devices approve does"

        site.decide("lane-1", IdentityStatus.RETIRED)
        with pytest.raises(NotEnrolled) as caught:
            reporter.drop.send("lane-1", said("lane-1", 10_000))
        assert caught.value.reason == "Retired"
        assert kept(site) == {"lane-1": report.sequence}


def test_a_certificate_is_renewed_while_reports_go_on(site: AgentSite, tmp_path: Path) -> None:
    site.life, site.listed = timedelta(seconds=4), {"lane-1"}
    with site.served(SECURE, tls=True) as serving:
        reporter = Reporter(opener(site, tmp_path / "device", base(serving)))
        certificate = tmp_path / "device/identity/device.crt"
        reporter.send()
        first, serials = certificate.read_bytes(), set()
        until = time.monotonic() + PATIENCE
        while certificate.read_bytes() == first:
            assert time.monotonic() < until
            reporter.send()
        for identity in site.identities.identities(device="lane-1"):
            serials.add(identity.detail["serial"])
        reporter.send()
    assert kept(site) == {"lane-1": reporter.sequence}
    assert len(site.identities.identities(device="lane-1")) == 1, "the key stayed"


def test_a_new_key_needs_an_operator_and_takes_the_place_of_the_first(site: AgentSite, tmp_path: Path) -> None:
    site.listed = {"lane-1"}
    with site.served(SECURE, tls=True) as serving:
        old = Reporter(opener(site, tmp_path / "old", base(serving)))
        old.send()
        new = Reporter(opener(site, tmp_path / "new", base(serving)))
        assert new.refused() == "OtherKey"
        old.send()
        site.decide("lane-1")
        new.again()
        new.sequence = 100
        new.send()
        assert old.refused() == "Retired"
    assert kept(site) == {"lane-1": 101}


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────


def test_only_accepted_keys_speak_and_only_for_themselves(site: AgentSite) -> None:
    with site.served(SECURE, tls=True) as serving:
        url = base(serving)
        stranger = Stranger(site, url)
        assert stranger.report().status_code == 401, "its key is pending"
        site.decide("lane-1")
        assert stranger.report().status_code == 200
        other = stranger.report("lane-2")
        assert (other.status_code, other.json()["reason"]) == (403, "OtherDevice")
        site.decide("lane-1", IdentityStatus.RETIRED)
        retired = stranger.report()
        assert (retired.status_code, retired.json()["reason"]) == (403, "Retired")
        assert stranger.client.post(f"{url}/renew", json={"csr": "x"}).status_code == 422
        assert Stranger(site, url, "lane-9", asks=False).report("lane-9").status_code == 401, "its key is unknown"
        context = ssl.create_default_context(cafile=str(site.keys / "devices-ca.crt"))
        nobody = httpx.post(
            f"{url}/reports", json={"reports": [json.loads(said("lane-1"))]}, verify=context, trust_env=False
        )
        assert nobody.status_code == 401
        assert "enroll" in nobody.json()["error"]
    assert kept(site) == {"lane-1": 1}


def test_a_certificate_that_is_out_of_date_or_of_others_does_not_get_as_far_as_http(
    site: AgentSite, tmp_path: Path
) -> None:
    others = AgentSite(tmp_path / "others")
    with site.served(SECURE, tls=True) as serving:
        url = base(serving)
        expired = Stranger(site, url, asks=False, now=datetime.now(UTC) - timedelta(days=30))
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            expired.report()
        foreign = Stranger(others, url, asks=False)
        context = ssl.create_default_context(cafile=str(site.keys / "devices-ca.crt"))
        folder = next(others.folder.glob("stranger-*"))
        context.load_cert_chain(folder / "crt", folder / "key")
        with (
            pytest.raises((httpx.TransportError, ssl.SSLError)),
            httpx.Client(verify=context, trust_env=False) as client,
        ):
            client.post(f"{url}/reports", json={"reports": []})
        foreign.client.close()
    others.close()


def test_plain_http_is_heard_from_this_machine_alone_and_only_where_that_is_wanted(site: AgentSite) -> None:
    body = {"reports": [json.loads(said("lane-1"))]}
    with site.served(SECURE) as serving:
        answer = httpx.post(f"{base(serving)}/reports", json=body, trust_env=False)
        assert (answer.status_code, "HTTPS" in answer.json()["error"]) == (403, True)
        assert httpx.post(f"{base(serving)}/enroll", json={}, trust_env=False).status_code == 403
    with site.served(Peers(insecure=True)) as serving:
        url = f"{base(serving)}/reports"
        for header in ("X-Forwarded-For", "Forwarded", "Via", "Origin"):
            assert httpx.post(url, json=body, headers={header: "x"}, trust_env=False).status_code == 403
        assert kept(site) == {}
        assert httpx.post(url, json=body, trust_env=False).status_code == 200
    assert kept(site) == {"lane-1": 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"insecure": True, "host": "0.0.0.0"}, "one machine"),
        ({"insecure": True, "tls": True}, "one machine"),
        ({"insecure": True, "proxies": ["127.0.0.1"], "header": "X"}, "one machine"),
        ({"header": "X"}, "needs its address"),
        ({"header": "X", "proxies": ["10.0.0.1/8"]}, "host bits"),
        ({"header": "X", "proxies": ["proxy.example.com"]}, "10.0.0.0/24"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    given = {"insecure": False, "header": None, "proxies": [], "host": "127.0.0.1", "tls": False, **options}
    with pytest.raises(EdgewrightError) as caught:
        parse_peers(**given)
    assert words in str(caught.value)


def test_a_hang_during_the_handshake_holds_nobody_up(site: AgentSite) -> None:
    with site.served(SECURE, tls=True) as serving:
        where = urlsplit(base(serving))
        stuck = [socket.create_connection((where.hostname, where.port), PATIENCE) for _ in range(20)]
        context = ssl.create_default_context(cafile=str(site.keys / "devices-ca.crt"))
        answer = httpx.get(f"{base(serving)}/repository/metadata/timestamp.json", verify=context, trust_env=False)
        assert answer.status_code == 200
        for connection in stuck:
            connection.close()
