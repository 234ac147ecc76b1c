"""Review: warnings of a change before its merge: safety that is removed, and silent consequences.

``review`` compares what is in force with what would be, and reads the plan between them. Pure. Called by the
controller for pull requests and by the command line for comparisons. Each finding is a warning, or a fact that is no
fault and yet must not be hidden: code of the repository that runs after the merge.
"""

from collections.abc import Iterator

from edgewright.core.address import Address
from edgewright.core.fleet.membership import members
from edgewright.core.planning.plan import Plan, Prune
from edgewright.core.review.code import code_that_runs
from edgewright.core.review.findings import ReviewWarning, repository_address
from edgewright.core.review.gates import gates_weakened
from edgewright.core.review.models import models_weakened
from edgewright.core.review.repository import upkeep_weakened
from edgewright.core.review.rollouts import rollouts_weakened
from edgewright.core.review.secrets import secrets_added
from edgewright.core.signatures import Signature
from edgewright.core.snapshot import Snapshot

__all__ = ["ReviewWarning", "review"]

_NAMED = 8
"""Devices a message names before it only counts."""


def review(
    base: Snapshot | None, head: Snapshot, plan: Plan, signature: Signature | None = None
) -> tuple[ReviewWarning, ...]:
    """Find everything a reviewer should look at, warnings first, then facts.

    Args:
        base: What is in force; None: nothing is yet.
        head: What would be.
        plan: What making it so takes.
        signature: What was found of the head's signature; None where nobody looked.
    """
    found = [*_signer(head, signature), *_pruned(plan, base)]
    if base is not None:
        found += _comparisons(base, head)
    found += secrets_added(base, head)
    found += code_that_runs(head, plan)
    order = {"warning": 0, "info": 1}
    return tuple(dict.fromkeys(sorted(found, key=lambda warning: order[warning.severity])))


def _comparisons(base: Snapshot, head: Snapshot) -> Iterator[ReviewWarning]:
    yield from _devices_left(base, head)
    yield from gates_weakened(base, head)
    yield from rollouts_weakened(base, head)
    yield from models_weakened(base, head)
    yield from upkeep_weakened(base, head)


def _signer(head: Snapshot, signature: Signature | None) -> Iterator[ReviewWarning]:
    if signature is not None and not signature.accepted:
        address, _ = repository_address(head)
        yield ReviewWarning(
            "UnverifiedSigner", address, f"{signature}; what is not signed as declared is never taken up"
        )


def _pruned(plan: Plan, base: Snapshot | None) -> Iterator[ReviewWarning]:
    for step in plan.steps:
        if isinstance(step, Prune):
            was = base.resources.get(step.address) if base is not None else None
            written = f" (it was in {was.location.path})" if was is not None else ""
            yield ReviewWarning("Prune", step.address, f"is no longer declared{written} and would no longer be managed")


def _devices_left(base: Snapshot, head: Snapshot) -> Iterator[ReviewWarning]:
    """Find devices that no rollout would reach any more, by the rollout that reaches them now."""
    before, after = _reached(base), _reached(head)
    still = {(model, device) for model, devices in after.values() for device in devices}
    for address, (model, devices) in before.items():
        left = [device for device in devices if (model, device) not in still]
        if not left:
            continue
        names = ", ".join(left[:_NAMED]) + (f" and {len(left) - _NAMED} more" if len(left) > _NAMED else "")
        what = "1 device is" if len(left) == 1 else f"{len(left)} devices are"
        resource = head.resources.get(address)
        yield ReviewWarning(
            "DevicesUnmanaged",
            address,
            f"{what} left unmanaged for model/{model}, running what they run now: {names}",
            resource.location if resource else None,
        )
    for address in sorted(before.keys() - after.keys()):
        fleet = base.fleet(_fleet_of(base, address))
        if fleet is not None and fleet.spec.selector is not None:
            chosen = ", ".join(f"{key}={value}" for key, value in fleet.spec.selector.match_labels.items())
            yield ReviewWarning(
                "DevicesUnmanaged", address, f"enrolled devices with {chosen} are no longer reached through it"
            )


def _reached(snapshot: Snapshot) -> dict[Address, tuple[str, list[str]]]:
    """List the model and the declared devices of each rollout."""
    found = {}
    for rollout in snapshot.rollouts():
        fleet = snapshot.fleet(rollout.spec.fleet)
        devices = list(members(snapshot, fleet, {})) if fleet is not None else []
        found[Address("rollout", rollout.metadata.name)] = (rollout.spec.model, devices)
    return found


def _fleet_of(snapshot: Snapshot, address: Address) -> str:
    return next((r.spec.fleet for r in snapshot.rollouts() if r.metadata.name == address.name), "")
