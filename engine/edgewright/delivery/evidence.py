"""Evidence of devices on jobs, and its evaluation. Pure; called by every driver for devices without our agent.

The installer on a device says what came of an order in one line of JSON, its *evidence*. It travels as the update
system lets it: in a file, a status message, a log, an attribute; cut into pieces, between other words. Without it, the
update system's own "success" says no more than that something was installed.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from pydantic import ValidationError

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Twin
from edgewright_wire.canonical import digest_json, hex_of
from edgewright_wire.evidence import Evidence
from edgewright_wire.messages import ModelAssignment, ModelReport, Phase, ProbeResult

_START = '{"evidence":'
_ESCAPED = '{\\"evidence\\":'
"""As in a line that some client logs quoted."""
_MOST_READ = 1024 * 1024
_MOST_LINES = 1000


@dataclass(frozen=True, slots=True)
class Verified:
    """The order is carried out; a model's golden samples passed on the device."""

    probe: ProbeResult | None = None
    """None: the order was to remove it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The installer refused, and left what ran before."""

    reason: str
    message: str
    probe: ProbeResult | None = None


@dataclass(frozen=True, slots=True)
class Contradiction:
    """The evidence is of something else than was ordered."""

    message: str


Verdict = Verified | Refused | Contradiction


def nonce_of(model: str, target: ModelAssignment | None) -> str:
    """Name an order, where many devices are given the same one: what brings it must tell one time from another.

    Args:
        model: The model's name.
        target: What it is to become; None: it is to be removed.
    """
    content = target.model_dump(mode="json", by_alias=True, exclude_none=True) if target is not None else None
    return f"order-{hex_of(digest_json({'model': model, 'target': content}))[:24]}"


def assess(
    model: str, target: ModelAssignment | None, nonce: str, said: str | Evidence | Iterable[str]
) -> Verdict | None:
    """Check what a device reported of an order.

    Args:
        model: The model's name.
        target: What was ordered; None: to remove it.
        nonce: Names the order; evidence with another one is of an earlier order, and does not count.
        said: The evidence, or texts that may have it in them; several may be pieces of one.

    Returns:
        None: there is no evidence of this order.
    """
    own = [each for each in _evidence(said) if each.nonce == nonce]
    return _verdict(model, target, own[-1].model) if own else None


def _evidence(said: str | Evidence | Iterable[str]) -> list[Evidence]:
    if isinstance(said, Evidence):
        return [said]
    texts = [said] if isinstance(said, str) else list(said)
    text = "".join(texts)[-_MOST_READ:]
    plain = re.sub(r'\\(["\\])', r"\1", text) if _ESCAPED in text else ""
    return [*_read(text), *_read(plain)]


def _read(text: str) -> Iterator[Evidence]:
    """Find evidence among other words; what is no evidence is passed over."""
    decoder = json.JSONDecoder()
    at = -1
    for _ in range(_MOST_LINES):
        at = text.find(_START, at + 1)
        if at < 0:
            return
        try:
            value, _end = decoder.raw_decode(text, at)
            yield Evidence.model_validate(value)
        except (ValidationError, ValueError, RecursionError):
            continue


def _verdict(model: str, target: ModelAssignment | None, shown: ModelReport) -> Verdict:
    if shown.model != model:
        return Contradiction(f"the evidence is of the model {shown.model}, not of {model}")
    if shown.phase is Phase.FAILED:
        return Refused(shown.reason or "InstallFailed", shown.message or "the installer refused", shown.probe)
    active = _named(shown.active_release, shown.active)
    if target is None:
        gone = shown.active is None and shown.phase is Phase.IDLE
        return Verified() if gone else Contradiction(f"it should be gone, and {active} is active")
    ordered = (target.package.digest, target.release, target.release)
    if (shown.active, shown.active_release, shown.release) != ordered:
        return Contradiction(f"{_named(target.release, target.package.digest)} was ordered, and {active} is active")
    proved = shown.phase is Phase.VERIFIED and shown.verified == target.package.digest
    if not proved or shown.probe is None or not shown.probe.passed:
        return Contradiction(f"{active} is active, and its golden samples did not pass there")
    return Verified(shown.probe)


def _named(release: str | None, digest: str | None) -> str:
    if digest is None:
        return "nothing"
    return f"{release or 'something'} ({digest.removeprefix('sha256:')[:12]})"


def settle(
    twin: Twin,
    number: int,
    now: datetime,
    *,
    wanted: Proof,
    succeeded: bool,
    verdict: Verdict | None,
    words: str = "",
    reason: str = "InstallFailed",
) -> Twin:
    """End a job by what the update system said and what the device showed. A job that it is not at changes nothing.

    A device that may have switched to what was not shown to work is given back what ran before.

    Args:
        twin: The device.
        number: The job's.
        now: Aware UTC time.
        wanted: What the device is asked to show.
        succeeded: What the update system says.
        verdict: Of the evidence; None where there is none.
        words: What the update system says of it.
        reason: One word for a failure that has no evidence.
    """
    match verdict:
        case Verified(probe) if succeeded:
            return twins.succeed(twin, number, now, Proof.VERIFIED, probe)
        case Refused(why, message, probe):
            return twins.fail(twin, number, now, why, message, probe)
        case None if succeeded and wanted is Proof.INSTALLED:
            return twins.succeed(twin, number, now, Proof.INSTALLED)
        case None if not succeeded:
            return twins.fail(twin, number, now, reason, words or "its update system says that it failed")
    why, message = _unclear(verdict)
    return twins.bring_back(twin, number, now, why, f"{message}: {words}" if words else message)


def _unclear(verdict: Verified | Contradiction | None) -> tuple[str, str]:
    match verdict:
        case Contradiction(message):
            return "Contradiction", message
        case Verified():
            return "Contradiction", "its golden samples passed, and its update system says that it failed"
        case None:
            return "NotProved", "its update system says that it is installed; no golden samples were shown to pass"
        case _:
            assert_never(verdict)
