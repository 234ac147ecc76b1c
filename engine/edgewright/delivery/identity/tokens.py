"""Enrollment tokens: each accepts a number of devices without an operator, for a limited time.

Only a token's digest is stored, as an identity of a system of its own, with the keys that redeemed it: redeeming it
again with the same key costs no use. Called by ``enrollment`` and by ``edgewright devices token``.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from edgewright.ports import Identity, IdentityStatus, IdentityStore
from edgewright.secret import Secret

SYSTEM = "agent-token"
MOST_USES = 1_000
_PREFIX = "ewt_"
_KEPT = timedelta(days=30)
"""Time that ended tokens stay listed."""


@dataclass(frozen=True, slots=True)
class EnrollmentToken:
    """A token, without its secret."""

    name: str
    made_at: datetime
    expires: datetime
    uses: int
    labels: Mapping[str, str]
    used: Mapping[str, str]
    """The devices that redeemed it, by key."""
    revoked: bool
    allowed: tuple[str, ...] = ()
    """Labels that a device may say of itself: names, or ``name=value``."""

    def problem(self, now: datetime) -> str | None:
        """Return why it accepts no more devices, in a word; None while it does."""
        if self.revoked:
            return "revoked"
        if now >= self.expires:
            return "expired"
        return "used up" if len(self.used) >= self.uses else None


class EnrollmentTokens:
    """The tokens of one environment."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store

    def make(
        self, *, uses: int, life: timedelta, labels: Mapping[str, str], now: datetime, allowed: Sequence[str] = ()
    ) -> tuple[Secret, EnrollmentToken]:
        """Create a token; its secret can be read once, now. Tokens that ended long ago are forgotten.

        Raises:
            StateError, StateUnavailable, StorageFull: The store cannot be used.
        """
        self._store.forget(SYSTEM, [each.key for each in self._identities() if _token(each).expires + _KEPT < now])
        text = _PREFIX + secrets.token_urlsafe(32)
        name = secrets.token_hex(4)
        detail: dict[str, Any] = {"uses": uses, "expires": (now + life).isoformat(), "used": {}}
        if allowed:
            detail["allowed"] = list(allowed)
        made = Identity(SYSTEM, name, _digest(text), IdentityStatus.ACCEPTED, now, labels=dict(labels), detail=detail)
        return Secret(text), _token(self._store.ask(made))

    def tokens(self) -> Sequence[EnrollmentToken]:
        """List the tokens, oldest first."""
        return sorted(map(_token, self._identities()), key=lambda token: (token.made_at, token.name))

    def revoke(self, name: str, now: datetime) -> bool:
        """Revoke a token; False where there is none of this name."""
        found = [identity for identity in self._identities() if identity.device == name]
        for identity in found:
            self._store.decide(SYSTEM, identity.key, IdentityStatus.RETIRED, now)
        return bool(found)

    def find(self, text: str) -> EnrollmentToken | None:
        """Find a token by its secret."""
        identity = self._store.identity(SYSTEM, _digest(text))
        return _token(identity) if identity is not None else None

    def problem_for(self, text: str, key: str, now: datetime) -> str | None:
        """Return why a token does not accept this key, in a word or two, for operators alone; None where it does."""
        token = self.find(text)
        if token is None:
            return "unknown"
        return None if key in token.used else token.problem(now)

    def redeem(self, text: str, key: str, device: str, now: datetime) -> EnrollmentToken | None:
        """Redeem a token for a device; idempotent for one key. None where the token does not accept it."""
        digest, is_accepted = _digest(text), False
        identity = self._store.identity(SYSTEM, digest)
        if identity is None:
            return None

        def work(known: Sequence[Identity]) -> Iterator[Identity]:
            nonlocal is_accepted
            for each in known:
                token = _token(each)
                if each.key != digest:
                    continue
                is_accepted = key in token.used if token.problem(now) == "used up" else token.problem(now) is None
                if is_accepted and key not in token.used:
                    yield replace(each, detail={**each.detail, "used": {**token.used, key: device}})

        changed = self._store.change(SYSTEM, identity.device, work)
        return next((_token(each) for each in changed if each.key == digest), None) if is_accepted else None

    def _identities(self) -> Sequence[Identity]:
        return self._store.identities(system=SYSTEM)


def _digest(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _token(identity: Identity) -> EnrollmentToken:
    return EnrollmentToken(
        identity.device,
        identity.asked_at,
        datetime.fromisoformat(identity.detail["expires"]),
        identity.detail["uses"],
        identity.labels,
        identity.detail["used"],
        identity.status is not IdentityStatus.ACCEPTED,
        tuple(identity.detail.get("allowed", ())),
    )
