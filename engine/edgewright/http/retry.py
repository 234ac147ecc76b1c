"""Retry a request while its error says that it may be sent again."""

import time
from collections.abc import Callable
from typing import TypeVar

import tenacity

from edgewright.http.errors import NotSent, RateLimited, RetryableError
from edgewright.http.limits import RetryPolicy

T = TypeVar("T")


def retry(
    policy: RetryPolicy, call: Callable[[], T], *, idempotent: bool = True, sleep: Callable[[float], None] = time.sleep
) -> T:
    """Call until it succeeds, with growing waits.

    Args:
        policy: How often, and how long to wait.
        call: Sends the request; raises RetryableError for what may be sent again.
        idempotent: False: send again only what was not sent, or was refused for now.
        sleep: Waits so many seconds.

    Raises:
        RetryableError: The last one, when all attempts fail or the server asks for a longer wait.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=lambda state: _wait(policy, state),
        retry=tenacity.retry_if_exception(lambda error: _may_retry(policy, error, idempotent=idempotent)),
        sleep=sleep,
        reraise=True,
    )
    return retrying(call)


def _may_retry(policy: RetryPolicy, error: BaseException, *, idempotent: bool) -> bool:
    if not isinstance(error, RetryableError) or not (idempotent or isinstance(error, NotSent | RateLimited)):
        return False
    if policy.honors_retry_after:
        return error.retry_after is None or error.retry_after <= policy.longest
    return error.retry_after is None and not isinstance(error, RateLimited)


def _wait(policy: RetryPolicy, state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after if isinstance(error, RetryableError) else None
    wait: float = tenacity.wait_exponential(policy.first)(state)
    if policy.jitter:
        wait += tenacity.wait_random(0, policy.first)(state)
    return max(min(wait, policy.longest), asked or 0.0)
