"""Enrollment tokens: what lets devices in without an operator, for a number of devices and a time.

Only a token's digest is kept, as an identity of a system of its own, beside the keys that came in by it: coming again
with the same key uses nothing up. Called by ``enrollment`` and by ``edgewright devices token``.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from edgewright.ports import Identity, IdentityStatus, IdentityStore
from edgewright.secret import Secret

SYSTEM = "agent-token"
MOST_USES = 1_000
_PREFIX = "ewt_"
_KEPT = timedelta(days=30)
"""How long tokens that have ended are listed."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token."""

    name: str
    made_at: datetime
    expires: datetime
    uses: int
    labels: Mapping[str, str]
    used: Mapping[str, str]
    """The devices it let in, by key."""
    revoked: bool

    def problem(self, now: datetime) -> str | None:
        """Say why it lets nobody in any more, in a word; None while it does."""
        if self.revoked:
            return "revoked"
        if now >= self.expires:
            return "expired"
        return "used up" if len(self.used) >= self.uses else None


class Tokens:
    """The tokens of one environment."""

    def __init__(self, store: IdentityStore) -> None:
        self._store = store

    def make(self, *, uses: int, life: timedelta, labels: Mapping[str, str], now: datetime) -> tuple[Secret, Token]:
        """Make a token; it can be read once, now. Those that ended long ago are forgotten.

        Raises:
            StateError, StateUnavailable, StorageFull: The store cannot be used.
        """
        self._store.forget(SYSTEM, [each.key for each in self._identities() if _token(each).expires + _KEPT < now])
        text = _PREFIX + secrets.token_urlsafe(32)
        name = secrets.token_hex(4)
        detail = {"uses": uses, "expires": (now + life).isoformat(), "used": {}}
        made = Identity(SYSTEM, name, _digest(text), IdentityStatus.ACCEPTED, now, labels=dict(labels), detail=detail)
        return Secret(text), _token(self._store.ask(made))

    def tokens(self) -> Sequence[Token]:
        """List them, oldest first."""
        return sorted(map(_token, self._identities()), key=lambda token: (token.made_at, token.name))

    def revoke(self, name: str, now: datetime) -> bool:
        """Let nobody in by it any more; False where there is none of this name."""
        found = [identity for identity in self._identities() if identity.device == name]
        for identity in found:
            self._store.decide(SYSTEM, identity.key, IdentityStatus.RETIRED, now)
        return bool(found)

    def find(self, text: str) -> Token | None:
        """Find a token by what a device has sent."""
        identity = self._store.identity(SYSTEM, _digest(text))
        return _token(identity) if identity is not None else None

    def refusal(self, text: str, key: str, now: datetime) -> str | None:
        """Say why a token does not let this key in, in a word or two, for operators alone; None where it does."""
        token = self.find(text)
        if token is None:
            return "unknown"
        return None if key in token.used else token.problem(now)

    def use(self, text: str, key: str, device: str, now: datetime) -> Token | None:
        """Let a device in by a token; the same key again uses it up no further. None where it lets nobody in."""
        digest, let_in = _digest(text), False
        identity = self._store.identity(SYSTEM, digest)
        if identity is None:
            return None

        def work(known: Sequence[Identity]) -> Iterator[Identity]:
            nonlocal let_in
            for each in known:
                token = _token(each)
                if each.key != digest:
                    continue
                let_in = key in token.used if token.problem(now) == "used up" else token.problem(now) is None
                if let_in and key not in token.used:
                    yield replace(each, detail={**each.detail, "used": {**token.used, key: device}})

        changed = self._store.change(SYSTEM, identity.device, work)
        return next((_token(each) for each in changed if each.key == digest), None) if let_in else None

    def _identities(self) -> Sequence[Identity]:
        return self._store.identities(system=SYSTEM)


def _digest(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _token(identity: Identity) -> Token:
    return Token(
        identity.device,
        identity.asked_at,
        datetime.fromisoformat(identity.detail["expires"]),
        identity.detail["uses"],
        identity.labels,
        identity.detail["used"],
        identity.standing is not IdentityStatus.ACCEPTED,
    )
