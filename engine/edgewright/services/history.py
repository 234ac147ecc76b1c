"""The history of an environment: what was built, judged, rolled out and returned."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from edgewright.core.status.reasons import REASONS, current_reason
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError
from edgewright.ports import Event
from edgewright.services.environment import Environment
from edgewright_schemas.kinds import KINDS

_FURTHER = 4
"""How many times as many events are read when those read were too few."""


def find_events(
    environment: Environment,
    *,
    address: str | None = None,
    kinds: Collection[str] = (),
    reasons: Collection[str] = (),
    since: datetime | None = None,
    limit: int = 50,
) -> Sequence[Event]:
    """Return events, newest first.

    Args:
        environment: The environment.
        address: Only of this resource.
        kinds: Only of resources of these kinds, in lower case; empty: of all.
        reasons: Only with these reasons; empty: with any.
        since: None from before.
        limit: At most so many.

    Raises:
        EdgewrightError: There is no such kind; or nothing was found, and there is no such reason or resource.
    """
    _check_kinds(kinds)
    asked = {current_reason(reason) for reason in reasons}

    def is_wanted(event: Event) -> bool:
        of_kind = not kinds or event.address.partition("/")[0] in kinds
        return of_kind and (not asked or current_reason(event.reason) in asked)

    found = _read(environment, address, limit, since, is_wanted)
    if not found:
        _check_reasons(reasons)
        if address is not None:
            _check_address(environment, address)
    return found


def _read(
    environment: Environment,
    address: str | None,
    limit: int,
    since: datetime | None,
    is_wanted: Callable[[Event], bool],
) -> Sequence[Event]:
    """Read further and further back, until there are enough or no more."""
    count = limit
    while True:
        read = environment.state.events(limit=count, address=address)
        recent = [event for event in read if since is None or event.at >= since]
        found = [event for event in recent if is_wanted(event)]
        if len(found) >= limit or len(read) < count or len(recent) < len(read):
            return found[:limit]
        count *= _FURTHER


def _check_kinds(kinds: Collection[str]) -> None:
    """Refuse a kind that no resource has.

    Raises:
        EdgewrightError: There is no such kind.
    """
    known = [kind.lower() for kind in KINDS]
    for kind in sorted(kinds):
        if kind not in known:
            raise EdgewrightError(f"there is no kind {kind!r}", hint=suggestion(kind, known))


def _check_reasons(reasons: Collection[str]) -> None:
    """Refuse a reason that no event ever has.

    Raises:
        EdgewrightError: There is no such reason.
    """
    for reason in sorted(reasons):
        if current_reason(reason) not in REASONS:
            raise EdgewrightError(f"there is no reason {reason!r}", hint=suggestion(reason, REASONS))


def _check_address(environment: Environment, address: str) -> None:
    """Refuse a resource that is neither declared nor was ever applied.

    Raises:
        EdgewrightError: It is neither; or what is declared cannot be read.
    """
    known = {str(one) for one in (*environment.source.snapshot().resources, *environment.state.managed())}
    if address not in known:
        hint = suggestion(address, known)
        raise EdgewrightError(f"{address} is not declared, and nothing ever happened to it", hint=hint)
