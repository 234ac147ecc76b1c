"""Keys of rollouts: what starts one over, and what an upgrade must not change."""

from typing import Any

import pytest

from edgewright.core.planning.rollouts import fleet_part
from edgewright_schemas.fleet import Fleet

SERVER = {"url": "https://mender.example.com", "token": {"secret": "mender"}}
KEPT = {**SERVER, "deviceType": "edgewright", "module": "edgewright", "attribute": "edgewright_id"}
"""As the first version had it."""


def fleet(**server: Any) -> Fleet:
    delivery = {"type": "mender-server", "menderServer": {**SERVER, **server}}
    override = {"select": {"matchLabels": {"class": "scale"}}, "delivery": delivery}
    spec = {"inventory": "fleets/a.csv", "delivery": delivery, "overrides": [override]}
    return Fleet.model_validate(
        {"apiVersion": "edgewright.dev/v1alpha1", "kind": "Fleet", "metadata": {"name": "a"}, "spec": spec}
    )


@pytest.mark.parametrize("whole", [False, True])
def test_how_long_a_proof_is_waited_for_starts_no_rollout_over(whole: bool) -> None:
    part = fleet_part(fleet(inventoryInterval="1h"), whole=whole)
    assert part == fleet_part(fleet(), whole=whole)
    assert part["delivery"]["menderServer"] == part["overrides"][0]["delivery"]["menderServer"] == KEPT
    assert ("inventory" in part) is whole
