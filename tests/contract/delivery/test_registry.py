"""The registry of update systems: the only list of them in the engine, and all that another one needs."""

import ast
from pathlib import Path
from typing import get_args

import pytest

from edgewright.delivery.routing import RoutedDelivery
from edgewright.errors import StateError
from edgewright.wiring.drivers import open_drivers
from edgewright.wiring.registry import AGENT, UPDATE_SYSTEMS, systems_with_keys
from edgewright_schemas.delivery import System
from paths import ROOT
from rigs.base import assignments
from rigs.registered import REGISTRY, SYSTEM, carrier_grounds, context_of

OWN_ROOMS = ("delivery/served", "delivery/pushed", "delivery/relayed", "delivery/agent")


def test_it_has_what_specs_may_name() -> None:
    assert {AGENT, *UPDATE_SYSTEMS} == set(get_args(System))
    assert all(name == system.name for name, system in UPDATE_SYSTEMS.items())
    assert systems_with_keys() == ("agent", "ddi", "mender")


def test_no_other_module_of_the_engine_chooses_by_the_name_of_a_system() -> None:
    engine = ROOT / "engine/edgewright"
    rooms = [engine / room for room in OWN_ROOMS]
    choosing = []
    for file in sorted(engine.rglob("*.py")):
        if file.name == "registry.py" or any(file.is_relative_to(room) for room in rooms):
            continue
        constants = (
            node.value
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant)
        )
        choosing += [f"{file.relative_to(engine)}:{each.lineno}" for each in constants if each.value in UPDATE_SYSTEMS]
    assert choosing == []


def test_devices_of_another_system_are_reached_as_those_of_any(tmp_path: Path) -> None:
    grounds = carrier_grounds(tmp_path)
    try:
        grounds.declare("lane-1", "lane-2")
        drivers = open_drivers([SYSTEM], context_of(grounds), REGISTRY)
        delivery = RoutedDelivery(grounds.repository, drivers, lambda: grounds.routes)
        release = grounds.release(1)
        delivery.assign(assignments(1, ["lane-1", "lane-2"], release), {})
        twin = grounds.twins.twin("lane-1")
        assert twin is not None
        assert twin.assignment is not None
        assert twin.assignment.models == (release,)
        assert set(grounds.twins.systems()) == {SYSTEM}
    finally:
        grounds.close()


def test_a_system_that_is_not_registered_is_named(tmp_path: Path) -> None:
    grounds = carrier_grounds(tmp_path)
    try:
        with pytest.raises(StateError, match="reached by 'carrier', which this edgewright does not know"):
            open_drivers([SYSTEM], context_of(grounds))
    finally:
        grounds.close()
