"""Notes on proofs that take long to arrive. Called by ``rollouts``."""

from datetime import timedelta

from edgewright.core.address import Address
from edgewright.core.fleet.membership import members
from edgewright.core.fleet.routes import Proof, delivery_of
from edgewright.core.planning.workbench import Workbench
from edgewright_schemas.base import format_duration
from edgewright_schemas.fleet import Fleet
from edgewright_schemas.rollout import RolloutSpec

PROOF_TAKES_LONG = "ProofTakesLong"


def note_slow_proofs(bench: Workbench, address: Address, spec: RolloutSpec, fleet: Fleet) -> None:
    """Note how long devices behind a Mender server take to prove a release: it travels with their inventory."""
    waits: list[tuple[timedelta, timedelta]] = []
    for labels in members(bench.desired, fleet, bench.observed.enrolled).values():
        way = delivery_of(fleet, labels)
        if way.mender_server is not None and Proof(way.proves) is Proof.VERIFIED:
            waits.append((way.mender_server.inventory_interval, way.mender_server.proof_after))
    if not waits:
        return
    interval, longest = max(waits)
    devices = "1 device shows its proof" if len(waits) == 1 else f"{len(waits):,} devices show their proof"
    message = (
        f"{devices} with the inventory that Mender takes once in {format_duration(interval)}: "
        f"a wave may take {format_duration(longest)} (twice that, and an hour)"
    )
    deadline = spec.success.deadline
    if deadline < longest:
        message += (
            f"; success.deadline is {format_duration(deadline)}, and a device that is later has failed: make it longer"
        )
    bench.note(address, "warning" if deadline < longest else "info", PROOF_TAKES_LONG, message)
