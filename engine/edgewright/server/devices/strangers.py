"""Bounds on work for senders who are not known yet, of all of them and of each address. Used by routes.

Whoever may ask before anybody knows them must not keep those who are known from being answered.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

MOST = 64
"""Requests at once of all strangers."""
MOST_OF_ADDRESS = 16
"""Requests at once of one address; several devices may share one."""
BODY_BYTES = 64 << 10
HELD_BYTES = 8 << 20
"""What bodies of strangers may hold together while they arrive; those who are known have a budget of their own."""


class TooManyStrangers(Exception):
    """Too many strangers ask at once; this one is to come again."""


class Strangers:
    """The requests of strangers that are being worked on, on the server's one loop."""

    def __init__(self, most: int = MOST, most_of_address: int = MOST_OF_ADDRESS) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._working: Counter[str] = Counter()

    @contextmanager
    def admit(self, address: str) -> Iterator[None]:
        """Count a request while it is worked on.

        Raises:
            TooManyStrangers: There are too many.
        """
        if self._working.total() >= self._most or self._working[address] >= self._most_of_address:
            raise TooManyStrangers
        self._working[address] += 1
        try:
            yield
        finally:
            self._working[address] -= 1
            if not self._working[address]:
                del self._working[address]
