"""Prune steps of what is managed and no longer declared, with the guards against slips. Called by ``planner``.

A prune step forgets a resource; devices, packages and assignments stay as they are. So it is shown, and guarded only
where nothing at all is declared any more: a lost folder, a wrong ``spec.paths``, an environment that yields nothing.
"""

from collections import Counter

from edgewright.core.address import Address
from edgewright.core.planning.plan import Prune, Reason
from edgewright.core.planning.workbench import Workbench

_SHOWN = 3


def plan_prunes(bench: Workbench) -> None:
    """Plan forgetting what is no longer declared, or say why it stays."""
    inventory, declared = bench.observed.inventory, bench.desired.resources.keys()
    gone = sorted(inventory - declared)
    bench.consulted["inventory"] = [str(address) for address in gone]
    if not gone:
        return
    # The document that says how the repository is read is no proof that anything was found in it.
    if all(address.kind == "repository" for address in declared):
        what = f"what was managed is kept ({len(gone)} in all), since that is rarely meant"
        bench.note(gone[0], "warning", "EmptySnapshot", f"the revision declares nothing; {what}")
        return
    if not bench.desired.reconciliation().prune:
        names = ", ".join(str(address) for address in gone[:_SHOWN])
        more = f" and {len(gone) - _SHOWN:,} more" if len(gone) > _SHOWN else ""
        what = f"no longer declared: {names}{more}; kept, since reconciliation.prune is false"
        bench.note(gone[0], "info", "PruneDisabled", what)
        return
    for address in gone:
        if address in bench.observed.prune_disabled:
            bench.note(address, "info", "PruneDisabled", "no longer declared; its annotation forbids pruning")
        else:
            bench.steps.append(Prune(address=address, reasons=(Reason("resource", "declared", None),)))
    _warn(bench, gone)
    _hint(bench, gone)


def _warn(bench: Workbench, gone: list[Address]) -> None:
    """Warn where every one of several resources of a kind has vanished at once."""
    there = {address.kind for address in bench.desired.resources}
    for kind, count in sorted(Counter(address.kind for address in gone).items()):
        if count > 1 and kind not in there:
            first = next(address for address in gone if address.kind == kind)
            what = f"every {kind} that was managed is no longer declared ({count} in all)"
            bench.note(first, "warning", "KindVanished", f"{what}; devices keep what they run, if it was a slip")


def _hint(bench: Workbench, gone: list[Address]) -> None:
    """Note a possible rename where one resource of a kind went and one came."""
    fresh = [address for address in bench.desired.resources if address not in bench.observed.inventory]
    for old in gone:
        came = [address for address in fresh if address.kind == old.kind]
        if len(came) != 1 or sum(address.kind == old.kind for address in gone) != 1:
            continue
        then = "it starts with its first wave again" if old.kind == "rollout" else "what was built of it is used again"
        bench.note(came[0], "info", "Renamed", f"{old} is gone and this is new: if it was renamed, {then}")
