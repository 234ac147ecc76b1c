"""Order and cycles."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.core.planning.graph import CircularReferences, topological_order
from edgewright.core.suggestions import nearest, suggestion

GRAPHS = st.dictionaries(st.integers(0, 8), st.sets(st.integers(0, 8), max_size=4), max_size=9)


def test_dependencies_come_first_and_ties_by_name() -> None:
    edges = {"rollout": ["model", "fleet"], "model": ["thresholds", "dataset"], "extra": []}
    assert topological_order(edges) == ("dataset", "extra", "fleet", "thresholds", "model", "rollout")


def test_a_cycle_is_printed_in_the_direction_of_dependence() -> None:
    with pytest.raises(CircularReferences, match="circular reference: ") as caught:
        topological_order({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]})
    cycle = caught.value.cycle
    assert sorted(pairwise(cycle)) == [("a", "b"), ("b", "c"), ("c", "a")]


@given(GRAPHS)
def test_an_order_or_a_true_cycle(edges: dict[int, set[int]]) -> None:
    try:
        order = topological_order(edges)
    except CircularReferences as error:
        assert error.cycle[0] == error.cycle[-1]
        assert all(after in edges[before] for before, after in pairwise(error.cycle))
    else:
        at = {node: index for index, node in enumerate(order)}
        assert set(at) == set(edges) | {node for targets in edges.values() for node in targets}
        assert all(at[target] < at[node] for node, targets in edges.items() for target in targets)


def test_suggestions() -> None:
    assert nearest("lables", ["labels", "name"]) == "labels"
    assert suggestion("Model", ["model"]) == "did you mean model?"
    assert suggestion("zzz", ["b", "a"]) == "known: a, b"
    assert suggestion("zzz", []) == ""
