"""Dependency graph of resources: the addresses each names, and an order of work.

Called by ``source`` (dangling and circular references), by the planner and by ``explain``.
"""

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar, assert_never

from edgewright.core.address import Address
from edgewright_schemas.dataset import Dataset
from edgewright_schemas.fleet import Fleet
from edgewright_schemas.kinds import Document
from edgewright_schemas.model import Model
from edgewright_schemas.repository import Repository
from edgewright_schemas.rollout import Rollout
from edgewright_schemas.thresholds import Thresholds

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Reference:
    """A field that names another resource."""

    field: tuple[str, ...]
    """The path of the field in its document, as written: ``("spec", "dataset")``."""
    target: Address


class CircularReferences(ValueError):
    """Things depend on each other in a circle."""

    def __init__(self, cycle: tuple[Any, ...]) -> None:
        self.cycle = cycle
        """Each depends on the next; the last is the first again."""
        super().__init__("circular reference: " + " → ".join(str(node) for node in cycle))


def references(document: Document) -> tuple[Reference, ...]:
    """List the resources a document names, in the order of its fields."""
    match document:
        case Model():
            found = [Reference(("spec", "dataset"), Address("dataset", document.spec.dataset))]
            if document.spec.thresholds is not None:
                found.append(Reference(("spec", "thresholds"), Address("thresholds", document.spec.thresholds)))
            return tuple(found)
        case Rollout():
            return (
                Reference(("spec", "model"), Address("model", document.spec.model)),
                Reference(("spec", "fleet"), Address("fleet", document.spec.fleet)),
            )
        case Dataset() | Thresholds() | Fleet() | Repository():
            return ()
        case _:
            assert_never(document)


def topological_order(edges: Mapping[T, Collection[T]]) -> tuple[T, ...]:
    """Order nodes so that each comes after everything it depends on; equal inputs give equal orders.

    Args:
        edges: What each node depends on. A node that is only depended on need not be a key.

    Raises:
        CircularReferences: With the shortest way round that was found.
    """
    sorter: TopologicalSorter[T] = TopologicalSorter()
    for node in sorted(edges, key=str):
        sorter.add(node, *sorted(edges[node], key=str))
    try:
        sorter.prepare()
    except CycleError as error:
        # graphlib lists a cycle so that each node is depended on by the next; readers expect the other direction.
        raise CircularReferences(tuple(reversed(error.args[1]))) from None
    return tuple(_drain(sorter))


def _drain(sorter: "TopologicalSorter[T]") -> Iterator[T]:
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=str)
        yield from ready
        sorter.done(*ready)
