"""Checks specs without planning, as every environment sees them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgewright.core.snapshot import Snapshot
from edgewright.errors import Problem, SpecError
from edgewright.ports import SnapshotSource
from edgewright.services.environment import Environment
from edgewright_schemas.fleet import Fleet
from edgewright_schemas.repository import Repository


class CheckedEnvironment(Environment, Protocol):
    """An environment whose specs can be checked, committed or not."""

    def declared(self) -> Repository | None:
        """Read the Repository document of what ``source`` reads; None where there is none.

        Raises:
            SpecError: It is wrong.
            SourceError: It cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class FoundProblem:
    """A problem of the specs."""

    problem: Problem
    environments: Sequence[str]
    """The environments that have it; empty where all that were checked do."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The specs as one environment sees them."""

    resources: int
    """0 where they cannot be read."""
    problems: Sequence[Problem]


@dataclass(frozen=True, slots=True)
class Validation:
    """The outcome of checking specs."""

    resources: Mapping[str, int]
    """How many resources each environment has, by its name; empty where the repository declares none."""
    problems: Sequence[FoundProblem]
    """In order of files."""
    base: Checked | None = None
    """The specs without an environment, where the repository declares some and all were checked without a problem."""

    @property
    def valid(self) -> bool:
        """True where no problem was found."""
        return not self.problems


def validate(environment: CheckedEnvironment) -> Validation:
    """Check every spec, and try each fleet's template on the devices of its inventory.

    Every environment is checked that the repository declares; or only the one that is named.

    Raises:
        SourceError, SourceUnavailable: The specs cannot be read.
    """
    seen_as, declared = _views(environment)
    names = [environment.env] if environment.env else declared or [""]
    checked = {name: _check(seen_as(name), environment.root) for name in names}
    resources = {name: each.resources for name, each in checked.items()}
    problems = _attributed(checked)
    if problems or not declared or environment.env:
        return Validation(resources, problems)
    return Validation(resources, problems, _check(seen_as(""), environment.root))


def _views(environment: CheckedEnvironment) -> tuple[Callable[[str], SnapshotSource], list[str]]:
    """Return what shows one revision as any environment, and the environments it declares.

    None are returned where the Repository document is wrong: the snapshot of the base has all that is wrong with it.
    """
    source = environment.source
    if environment.is_remote:
        revision = source.revision()

        def seen_as(name: str) -> SnapshotSource:
            return environment.upstream.source(lambda: revision, name)
    else:

        def seen_as(name: str) -> SnapshotSource:
            return source if name == environment.env else environment.for_environment(name).source

    try:
        repository = environment.declared()
    except SpecError:
        repository = None
    return seen_as, [each.name for each in repository.spec.environments] if repository else []


def _check(source: SnapshotSource, root: Path) -> Checked:
    """Count the resources of an environment, and list its problems."""
    try:
        found = source.snapshot()
        for inventory in found.inventories:
            _ = found.inventories[inventory]
        return Checked(len(found.resources), _look_further(source, found, root))
    except SpecError as error:
        return Checked(0, error.problems)


def _look_further(source: SnapshotSource, found: Snapshot, root: Path) -> tuple[Problem, ...]:
    """Check what a snapshot does not: files outside Git, and templates on the devices."""
    from edgewright.services.missing_sources import missing_sources

    problems = missing_sources(source, found, root)
    fleets = [r.document for r in found.resources.values() if isinstance(r.document, Fleet)]
    if any(fleet.spec.config is not None for fleet in fleets):
        from edgewright.services.template_checks import template_problems

        problems += template_problems(source, found)
    return problems


def _attributed(checked: Mapping[str, Checked]) -> list[FoundProblem]:
    """List every problem once, in the order of files."""
    where: dict[Problem, list[str]] = {}
    for name, each in checked.items():
        for problem in dict.fromkeys(each.problems):
            where.setdefault(problem, []).append(name)
    return [
        FoundProblem(problem, () if len(names) == len(checked) else tuple(names))
        for problem, names in sorted(where.items())
    ]
