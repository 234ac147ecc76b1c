"""Where devices are, from specs and inventory."""

from typing import Any

import pytest

from edgewright.core.fleet.routes import Proof, Route
from edgewright.delivery.pushed.ssh.targets import Hop, SshTarget, resolve_target
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.fleet import Device


def resolved(ssh: dict[str, Any], own: dict[str, Any], **delivery: Any) -> SshTarget:
    spec = Delivery.model_validate({"type": "ssh", "ssh": ssh, **delivery})
    return resolve_target(Route("stores", spec, Device.model_validate({"id": "lane-1", "ssh": own})), "ops")


def test_what_the_inventory_says_counts_more_than_the_fleet() -> None:
    fleet = {"user": "edge", "port": 2200, "key": "fleet", "jump": "gate.example"}
    assert resolved({}, {}).hop == Hop("lane-1", 22, "ops")
    assert resolved(fleet, {}).hop == Hop("lane-1", 2200, "edge")
    assert resolved(fleet, {}).jump == Hop("gate.example", 22, "edge")
    own = resolved(fleet, {"host": "10.0.0.7", "port": 2022, "user": "root", "key": "own", "jump": "x@[fe80::1]:2022"})
    assert (own.hop, own.key) == (Hop("10.0.0.7", 2022, "root"), "own")
    assert own.jump == Hop("fe80::1", 2022, "x")


def test_commands_are_words() -> None:
    found = resolved({}, {}, installer="sudo -n '/opt/edge wright/agent'", proof="installed")
    assert (found.installer, found.proof) == (("sudo", "-n", "/opt/edge wright/agent"), Proof.INSTALLED)


@pytest.mark.parametrize(
    ("own", "delivery", "said"),
    [
        ({"host": "root@10.0.0.1"}, {}, "ssh.host: 'root@10.0.0.1'"),
        ({"host": "10.0.0.1:22"}, {}, "ssh.host"),
        ({"host": "-oProxyCommand=x"}, {}, "ssh.host"),
        ({"jump": "gate example"}, {}, "jump: 'gate example' is no host; write it like"),
        ({"jump": "gate.example:70000"}, {}, "jump"),
        ({}, {"installer": "agent 'unclosed"}, 'installer: "agent \'unclosed" is no command'),
        ({}, {"installer": "  "}, "installer: there is no command"),
    ],
)
def test_what_makes_no_sense_is_refused(own: dict[str, Any], delivery: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"^(ssh\.host|jump|installer)") as caught:
        resolved({}, own, **delivery)
    assert said in str(caught.value)
