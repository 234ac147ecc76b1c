"""``enroll``: becoming a device that a server knows, by hand. Called by ``main``; ``run`` does the same by itself."""

import argparse
import json
import logging
import random
import sys
import time
from datetime import UTC, datetime

from edgewright_agent.backoff import Schedule
from edgewright_agent.commands.server_options import labels_of
from edgewright_agent.commands.shared import stop_on_signals
from edgewright_agent.durable import Disk
from edgewright_agent.errors import NotEnrolled, SettingsError, TransportError
from edgewright_agent.http_wiring import HttpOpener
from edgewright_agent.identity.enrollment import EnrollmentStep, next_step
from edgewright_agent.identity.enrollment_client import OTHER_KEY, PENDING, Enroller
from edgewright_agent.identity.files import IdentityFiles
from edgewright_agent.limits import FetchLimits
from edgewright_agent.settings import Settings, read_settings
from edgewright_agent.wakeups import Wakeups

log = logging.getLogger(__name__)


def enroll(options: argparse.Namespace) -> int:
    """Ask, and wait if that is wanted.

    Returns:
        0 when the device is enrolled, 1 when it is not, or not yet.
    """
    settings = read_settings(options.config)
    if not settings.server:
        raise SettingsError(f"{options.config}: server is not set: which one should know this device?")
    wakeups = Wakeups()
    stop = stop_on_signals(wakeups.wake)
    files = IdentityFiles(settings.directory, settings.device, Disk())
    enroller = HttpOpener(settings, Disk(), FetchLimits(), stop.is_set).enroller()
    if not _enrolled(files):
        enroller.say(labels_of(options), _token(options))
        schedule = Schedule(settings.retry, settings.retry_max, settings.retry_max)
        shown = ""
        while (error := _asked(enroller)) is not None:
            if error.message != shown:
                _show(settings, files, error, options.output)
                shown = error.message
            waits = options.wait and (not isinstance(error, NotEnrolled) or error.reason in {PENDING, OTHER_KEY})
            if not waits:
                return 1
            wakeups.wait(schedule.failed("enroll", error, time.monotonic(), random.random()))  # noqa: S311 - jitter
            if stop.is_set():
                return 1
    _show(settings, files, None, options.output)
    return 0


def _enrolled(files: IdentityFiles) -> bool:
    standing = files.standing()
    refused = standing is not None and standing.state != "enrolled"
    return next_step(files.certificate(), refused=refused, now=datetime.now(UTC)) is not EnrollmentStep.ENROLL


def _asked(enroller: Enroller) -> TransportError | None:
    try:
        enroller.enroll()
    except TransportError as error:
        return error
    return None


def _token(options: argparse.Namespace) -> str | None:
    if options.token_file is None:
        token: str | None = options.token
        return token
    try:
        return str(options.token_file.read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--token-file {options.token_file}: cannot be read: {error}") from error


def _show(settings: Settings, files: IdentityFiles, error: TransportError | None, output: str) -> None:
    """Print the state of the enrollment."""
    certificate = files.certificate() if error is None else None
    fingerprint = files.fingerprint()
    if output == "json":
        said = {
            "device": settings.device,
            "state": "enrolled" if error is None else error.reason,
            "fingerprint": fingerprint,
            "message": error.message if error is not None else "",
            "notAfter": certificate.not_after.isoformat() if certificate is not None else None,
        }
        sys.stdout.write(json.dumps({key: value for key, value in said.items() if value}) + "\n")
    elif certificate is not None:
        sys.stdout.write(f"{settings.device} is enrolled until {certificate.not_after:%Y-%m-%d %H:%M} UTC\n")
    else:
        assert error is not None
        sys.stdout.write(f"{settings.device} is not enrolled: {error.message}\n  key {fingerprint}\n")
        if error.reason == PENDING:
            sys.stdout.write("  compare it with what the server's operator sees, and have it approved there\n")
    sys.stdout.flush()
