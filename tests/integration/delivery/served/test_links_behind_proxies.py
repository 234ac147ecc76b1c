"""Links for devices behind a proxy that ends TLS: a real nginx, configured as docs/how-to/enroll-devices.md says, and
whatever proxies and strangers may write into a request.
"""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from edgewright.server.devices.forwarded import ForwardedApp
from edgewright.server.devices.peers import parse_peers
from edgewright_schemas.delivery import Delivery
from rigs.base import Grounds, assignments
from rigs.ddi_site import DdiSite
from servers.certificates import self_signed
from servers.nginx_proxies import documented, nginx_as_documented

PEERS = parse_peers(insecure=False, header=None, proxies=["127.0.0.1", "10.0.0.0/8"], host="", tls=False)


def test_a_device_behind_nginx_is_given_links_that_lead_there(tmp_path: Path) -> None:
    grounds = Grounds(tmp_path / "site", Delivery.model_validate({"type": "ddi"}))
    site = DdiSite(grounds, peers=PEERS)
    grounds.declare("lane-1")
    token = site.token("lane-1")
    site.driver.assign(assignments(1, ["lane-1"], grounds.release(1)), grounds.configs())
    chain, key = self_signed(tmp_path, "server")
    block, changes = documented("ssl_verify_client"), {
        "listen 443 ssl": "listen 127.0.0.1:{port} ssl",
        "/etc/edgewright/tls/server.crt": str(chain),
        "/etc/edgewright/tls/server.key": str(key),
        "/var/lib/edgewright/keys/devices-ca.crt": str(chain),
        "http://127.0.0.1:8080": site.url,
    }  # fmt: skip
    with (
        nginx_as_documented(tmp_path / "nginx", block, changes) as port,
        httpx.Client(
            verify=ssl.create_default_context(cafile=chain), headers={"Authorization": f"TargetToken {token}"}
        ) as device,
    ):
        here = f"https://127.0.0.1:{port}/"
        base = device.get(f"{here}DEFAULT/controller/v1/lane-1").json()
        deployment = base["_links"]["deploymentBase"]["href"]
        assert deployment.startswith(here)
        (artifact,) = device.get(deployment).json()["deployment"]["chunks"][0]["artifacts"]
        for link in artifact["_links"].values():
            assert link["href"].startswith(here)
        bundle = device.get(
            artifact["_links"]["download" if "download" in artifact["_links"] else "download-http"]["href"]
        )
        assert (bundle.status_code, len(bundle.content)) == (200, artifact["size"])
    site.stop()
    grounds.close()


def seen(client: str, **headers: str) -> tuple[str, str, str]:
    """Return the scheme, host and sender that an application behind the proxies sees."""
    found: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope)

    listed = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "scheme": "http", "client": (client, 5), "path": "/", "headers": listed}
    asyncio.run(ForwardedApp(app, PEERS)(scope, None, None))  # type: ignore[arg-type] # nothing is sent
    return found[0]["scheme"], dict(found[0]["headers"]).get(b"host", b"").decode(), found[0]["client"][0]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X_Forwarded_Proto": "https"}, ("https", "edge:8080", "10.1.1.1")),
        ({"X_Forwarded_Proto": "https", "X_Forwarded_Host": "e.example:8443"}, ("https", "e.example:8443", "10.1.1.1")),
        (
            {"X_Forwarded_Proto": "HTTPS", "X_Forwarded_Host": "e.example", "X_Forwarded_Port": "8443"},
            ("https", "e.example:8443", "10.1.1.1"),
        ),
        (
            {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "e.example", "X_Forwarded_Port": "443"},
            ("https", "e.example", "10.1.1.1"),
        ),
        (
            {"X_Forwarded_Host": "[2001:db8::1]", "X_Forwarded_Port": "81", "X_Forwarded_For": "8.8.8.8, 10.2.2.2"},
            ("http", "[2001:db8::1]:81", "8.8.8.8"),
        ),
        ({"X_Forwarded_Proto": "gopher", "X_Forwarded_Host": "a b"}, ("http", "edge:8080", "10.1.1.1")),
        ({"X_Forwarded_Port": "x"}, ("http", "edge:8080", "10.1.1.1")),
        ({"X_Forwarded_Host": "evil.example, e.example"}, ("http", "e.example", "10.1.1.1")),
    ],
)  # fmt: skip
def test_a_proxy_is_believed_and_nobody_else(headers: dict[str, str], expected: tuple[str, str, str]) -> None:
    assert seen("10.1.1.1", Host="edge:8080", **headers) == expected
    assert seen("192.0.2.7", Host="edge:8080", **headers) == ("http", "edge:8080", "192.0.2.7")
