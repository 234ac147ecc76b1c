"""Agents behind a real nginx, configured as docs/how-to/enroll-devices.md says: one that ends TLS, and one that caches
at a site.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from devices.http_agents import Reporter, Stranger, opener
from edgewright.ports import IdentityStatus
from edgewright.server.devices.peers import Peers, parse_peers
from edgewright_wire.messages import Assignment
from fakes.agent_ports import Device
from rigs.base import content_of
from samples.agent_packages import a_package, target
from servers.agent_server import PATIENCE, AgentSite, base, kept
from servers.nginx_proxies import documented, nginx_as_documented

SECURE = Peers()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AgentSite]:
    made = AgentSite(tmp_path / "site")
    yield made
    made.close()


PROXY = parse_peers(insecure=False, header="X-Client-Cert", proxies=["127.0.0.1", "10.0.0.0/8"], host="", tls=False)


def _behind(site: AgentSite, home: Path, serving_url: str) -> AbstractContextManager[int]:
    chain, key = site.server_certificate()
    return nginx_as_documented(
        home,
        documented("ssl_verify_client"),
        {
            "listen 443 ssl": "listen 127.0.0.1:{port} ssl",
            "/etc/edgewright/tls/server.crt": str(chain),
            "/etc/edgewright/tls/server.key": str(key),
            "/var/lib/edgewright/keys/devices-ca.crt": str(site.keys / "devices-ca.crt"),
            "http://127.0.0.1:8080": serving_url,
        },
    )


def test_an_agent_works_behind_nginx_that_ends_tls(site: AgentSite, tmp_path: Path) -> None:
    with site.served(PROXY) as serving, _behind(site, tmp_path / "nginx", serving.address.url) as port:
        url = f"https://127.0.0.1:{port}/agent/default"
        reporter = Reporter(opener(site, tmp_path / "device", url))
        assert reporter.refused() == "EnrollmentPending"
        site.decide("lane-1")
        reporter.again()
        reporter.send()
        assert kept(site) == {"lane-1": 2}
        stranger = Stranger(site, url, "lane-2")
        assert stranger.report("lane-2", X_Client_Cert="nonsense").status_code == 401, "nginx overwrites the header"
        expired = Stranger(site, url, asks=False, now=datetime.now(UTC) - timedelta(days=30))
        assert expired.report().status_code == 401, "so that the device asks for another one"
        tag = httpx.get(f"{serving.address.url}/agent/default/repository/metadata/timestamp.json").headers["etag"]
        held = stranger.client.get(
            f"{url}/repository/metadata/timestamp.json", headers={"If-None-Match": tag, "Prefer": "wait=1"}
        )
        assert (held.status_code, held.headers["preference-applied"]) == (304, "wait=1")
        site.decide("lane-1", IdentityStatus.RETIRED)
        assert reporter.refused() == "Retired"


def test_a_proxys_header_from_anybody_else_is_refused(site: AgentSite) -> None:
    elsewhere = Peers(header=b"x-client-cert", proxies=PROXY.proxies[1:])
    with site.served(SECURE, tls=True) as serving:
        stranger = Stranger(site, base(serving))
        site.decide("lane-1")
    with site.served(elsewhere) as serving:
        stranger.url = base(serving)
        answer = stranger.report(X_Client_Cert=stranger.pem.replace("\n", "%0A"))
        assert (answer.status_code, "x-client-cert" in answer.json()["error"]) == (403, True)
    with site.served(PROXY) as serving:
        stranger.url = base(serving)
        assert stranger.report(X_Client_Cert=stranger.pem.replace("\n", "%0A")).status_code == 200
        der = "".join(stranger.pem.splitlines()[1:-1])
        assert stranger.report(X_Client_Cert=der).status_code == 200
        for bad in ("nonsense", "%00", "-----BEGIN CERTIFICATE-----", der[:-8]):
            assert stranger.report(X_Client_Cert=bad).status_code == 401
        assert stranger.report().status_code == 401
    assert kept(site) == {"lane-1": 1}


def test_a_site_cache_fetches_what_never_changes_once_and_asks_for_the_timestamp(
    site: AgentSite, tmp_path: Path
) -> None:
    package = a_package(1, padding=300_000)
    assert site.repository.publish([content_of(package, tmp_path / "blobs")]) == {}
    devices = [f"lane-{number}" for number in range(4)]
    site.listed = set(devices)
    wanted = [Assignment(device=device, version=1, models=(target(package),)) for device in devices]
    site.repository.assign(wanted, {})
    root = (site.published / "metadata/root.json").read_bytes()
    home = tmp_path / "nginx"
    with site.served(SECURE, tls=True) as serving, nginx_as_documented(
        home,
        documented("proxy_cache_path"),
        {
            "/var/cache/edgewright": str(home / "cache"),
            "listen 8080": "listen 127.0.0.1:{port}",
            "proxy_pass https://edge.example.com": f"proxy_pass https://localhost:{serving.address.port}",
            "/etc/ssl/certs/ca-certificates.crt": str(site.keys / "devices-ca.crt"),
        },
    ) as port:  # fmt: skip
        cache = f"http://127.0.0.1:{port}/agent/default/repository"
        agents = []
        for name in devices:
            way = opener(site, tmp_path / name, base(serving), name, repository=cache)
            agents.append(
                Device(
                    tmp_path / name, site.published, root, device=name, reader=way.repository(), reports=way.reports()
                )
            )
        for agent in agents:
            agent.sleep(3.0)
            agent.work()
        assert [report.models[0].verified for report in site.inbox.newer({})] == [package.digest] * len(devices)
        log = _log(home)
        blobs = [line for line in log if "/blobs/" in line[1]]
        assert {line[3] for line in blobs} == {"MISS", "HIT"}
        assert sum(line[3] == "MISS" for line in blobs) == len({line[1] for line in blobs}), "each crosses once"

        timestamp = f"{cache}/metadata/timestamp.json"
        before = httpx.get(timestamp)
        _until_revalidated(home, timestamp)
        site.repository.assign([Assignment(device="lane-0", version=2)], {})
        until = time.monotonic() + PATIENCE
        while httpx.get(timestamp).content == before.content:
            assert time.monotonic() < until
        assert httpx.get(timestamp).content == (site.published / "metadata/timestamp.json").read_bytes()
        begun = time.monotonic()
        tag = httpx.get(timestamp).headers["etag"]
        assert httpx.get(timestamp, headers={"If-None-Match": tag, "Prefer": "wait=60"}).status_code == 304
        assert time.monotonic() - begun < 20, "the cache does not wait in a device's place"

        agents[0].sleep(3.0)
        agents[0].work()
        assert agents[0].agent.report().assignment_version == 2


def _log(home: Path) -> list[list[str]]:
    return [line.split() for line in (home / "access.log").read_text().splitlines()]


def _until_revalidated(home: Path, timestamp: str) -> None:
    """Poll until nginx has asked the controller whether the timestamp is still the same, and heard that it is."""
    until = time.monotonic() + PATIENCE
    while not any(line[1].endswith("timestamp.json") and line[3] == "REVALIDATED" for line in _log(home)):
        assert time.monotonic() < until
        httpx.get(timestamp)
