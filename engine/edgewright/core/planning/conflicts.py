"""Conflicts of devices in a plan: spec errors where the repository alone causes them, else notes of their rollouts."""

from collections.abc import Iterator

from edgewright.core.address import Address
from edgewright.core.fleet.conflicts import CONFLICT, Claim, find_claims, find_conflicts, find_shared_hosts
from edgewright.core.fleet.routes import conflicts_of_routes
from edgewright.core.planning.workbench import Workbench
from edgewright.errors import Problem


def conflicts(bench: Workbench) -> list[Problem]:
    """Find what the repository alone makes conflict: rollouts that claim the same model on the same device, and fleets
    that reach a device in different ways.
    """
    problems = [*_ways_that_differ(bench), *_shared_hosts(bench)]
    by_rollouts: dict[tuple[str, str], list[Claim]] = {}
    for claim in find_claims(bench.desired, {}):
        by_rollouts.setdefault((claim.other, claim.model), []).append(claim)
    for (name, model), claims in by_rollouts.items():
        where = bench.desired.resources[Address("rollout", name)].location
        first, more = claims[0], f" and {len(claims) - 1} more" if len(claims) > 1 else ""
        message = f"rollout/{name} and rollout/{first.one} both claim model/{model} on device {first.device}{more}"
        problems.append(Problem(where.path, where.line, where.column, message, "let their fleets share no device"))
    return problems


def note_conflicts(bench: Workbench) -> None:
    """Note each rollout's devices that are held back because their labels put them into two fleets."""
    by_rollout: dict[str, list[str]] = {}
    for device, conflict in sorted(find_conflicts(bench.desired, bench.observed.enrolled).items()):
        for name in conflict.rollouts:
            by_rollout.setdefault(name, []).append(f"{device}: {conflict.message}")
    for name, found in sorted(by_rollout.items()):
        devices = "1 device is left as it is" if len(found) == 1 else f"{len(found):,} devices are left as they are"
        more = f"; and {len(found) - 3:,} more" if len(found) > 3 else ""
        bench.note(Address("rollout", name), "warning", CONFLICT, f"{devices}: {'; '.join(found[:3])}{more}")


def _ways_that_differ(bench: Workbench) -> Iterator[Problem]:
    told: set[tuple[str, str]] = set()
    for device, (one, other) in conflicts_of_routes(bench.desired, {}).items():
        if (one, other) not in told:
            told.add((one, other))
            where = bench.desired.resources[Address("fleet", other)].location
            yield Problem(
                where.path,
                where.line,
                where.column,
                f"fleet/{one} and fleet/{other} reach device {device} in different ways",
                "say the same under spec.delivery in both, or let them share no device",
            )


def _shared_hosts(bench: Workbench) -> Iterator[Problem]:
    for shared in find_shared_hosts(bench.desired):
        where = bench.desired.resources[Address("fleet", shared.fleet)].location
        message = (
            f"devices {shared.one} and {shared.other} are one machine: both are reached over SSH at {shared.place}"
        )
        yield Problem(
            where.path, where.line, where.column, message, "give each its own ssh.host, or remove one of them"
        )
