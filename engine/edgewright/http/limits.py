"""Settings of HTTP requests: bounds on time and size, and when to retry. Imports no HTTP library."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one request and its response; times in seconds."""

    connect: float = 10.0
    """For the connection, TLS included."""
    idle: float = 30.0
    """Between two reads or writes of data."""
    total: float = 120.0
    """For reading one response, after its headers."""
    max_bytes: int = 16 * 1024 * 1024
    """Of a response's body."""
    excerpt: bool = False
    """Keep only the beginning of the body: what is longer, or breaks off, is cut there without an error."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts and waits of retries; times in seconds."""

    attempts: int = 4
    first: float = 0.5
    """Before the second attempt; it doubles from there."""
    longest: float = 15.0
    """The longest wait. When the server asks for more, the error is raised at once."""
    jitter: bool = True
    """Add a random part of up to ``first`` to each wait."""
    honors_retry_after: bool = True
    """Wait as long as the server asks; False: raise the error, for the caller to wait."""
