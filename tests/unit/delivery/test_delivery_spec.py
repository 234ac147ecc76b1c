"""``spec.delivery`` of the Repository."""

import pytest
from pydantic import ValidationError

from edgewright_schemas.repository import AgentDelivery


@pytest.mark.parametrize("bins", [2, 16, 16384])
def test_a_power_of_two_is_taken(bins: int) -> None:
    assert AgentDelivery(bins=bins).bins == bins


@pytest.mark.parametrize(("bins", "hint"), [(3, "2 or 4"), (12, "8 or 16"), (1000, "512 or 1024")])
def test_another_number_of_bins_is_told_its_neighbours(bins: int, hint: str) -> None:
    with pytest.raises(ValidationError, match=f"must be a power of two: {hint}"):
        AgentDelivery(bins=bins)
