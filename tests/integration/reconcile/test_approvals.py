"""``rollout approve``: it approves the next wave that needs it and has not begun, and says which."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.core.address import Address
from edgewright.core.rollout.state import Phase
from edgewright.errors import EdgewrightError
from edgewright.services.rollouts import approve
from harness.memory_run import FILES, HEAD, World, model

READER = Address("rollout", "reader")


def waves(approval: str) -> dict[str, str]:
    return {
        "specs/rollout-reader.yaml": f"{HEAD}kind: Rollout\nmetadata: {{name: reader}}\nspec: {{model: reader, "
        f"fleet: lanes, waves: [{{percent: 50, soak: 1h}}, {{percent: 80}}, {{percent: 100}}]{approval}}}\n"
    }


def here(world: World) -> Any:
    return SimpleNamespace(state=world.state, source=world.source)


def test_the_next_wave_that_needs_approval_is_approved_while_the_one_before_is_under_way(tmp_path: Path) -> None:
    world = World(tmp_path, {**FILES, **waves(", approval: {beforeWave: 2}")})
    world.run(until=world.clock() + timedelta(seconds=2))
    state = world.state.rollout(READER)
    assert state is not None
    assert (state.phase, state.wave) == (Phase.SOAKING, 0)
    made = approve(here(world), "reader")
    assert (made.wave, made.under_way) == (2, 1)
    again = approve(here(world), "reader")
    assert (again.wave, again.is_new) == (2, False), "whoever presses twice lets no further wave through"
    requested = world.state.requested_controls()[READER]
    assert requested.approved_before == 2
    assert len(requested.requests) == 1
    assert approve(here(world), "reader", 3).is_new
    with pytest.raises(EdgewrightError, match="no wave 4 waits for approval: there are 3 waves"):
        approve(here(world), "reader", 4)
    with pytest.raises(EdgewrightError, match="wave 1 has begun already"):
        approve(here(world), "reader", 1)


def test_a_wave_that_needs_none_is_not_approved(tmp_path: Path) -> None:
    world = World(tmp_path, {**FILES, **waves(", approval: {beforeWave: 3}")})
    world.run(until=world.clock() + timedelta(seconds=2))
    with pytest.raises(EdgewrightError, match="wave 2 needs no approval: the first that does is 3"):
        approve(here(world), "reader", 2)
    assert approve(here(world), "reader").wave == 3
    world.source.commit({**waves(""), **model("reader", epochs=4)})
    world.run(until=world.clock() + timedelta(seconds=2))
    with pytest.raises(EdgewrightError, match="no wave needs approval"):
        approve(here(world), "reader")
