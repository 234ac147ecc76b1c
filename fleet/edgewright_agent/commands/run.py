"""``init``, ``run``, ``status`` and ``probe``: a device that runs the agent. Called by ``main``."""

import argparse
import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from edgewright_agent.agent import Agent, Ports
from edgewright_agent.commands.server_options import server_settings
from edgewright_agent.commands.shared import alone, runtime_options, stop_on_signals
from edgewright_agent.durable import Disk
from edgewright_agent.errors import AgentError, LocalError, SettingsError
from edgewright_agent.identity.enrollment import EnrollmentState
from edgewright_agent.limits import FetchLimits
from edgewright_agent.probing.prober import ChildProber
from edgewright_agent.repository.transport import file_url
from edgewright_agent.repository.trust import check_root
from edgewright_agent.settings import (
    ROOT_FILE,
    SETTINGS_FILE,
    Settings,
    read_settings,
    settings_from,
    write_settings,
)
from edgewright_agent.wakeups import Wakeups
from edgewright_agent.wiring import StartableWatch, open_all
from edgewright_wire.messages import Report
from edgewright_wire.slots import ACTIVE, MODELS


def init(options: argparse.Namespace) -> int:
    """Set a device up."""
    raw = {
        "device": options.device,
        "repository": options.repository and file_url(options.repository),
        "reports": options.reports and file_url(options.reports),
        "device_class": options.device_class,
        "poll": options.poll,
        "heartbeat": options.heartbeat,
    }
    given = {key: value for key, value in raw.items() if value is not None}
    raw = given | server_settings(options) | runtime_options(options)
    disk = Disk()
    settings = settings_from(raw, options.dir / SETTINGS_FILE)
    open_all(settings, disk, FetchLimits(), lambda: False)
    try:
        root = options.root.read_bytes()
    except OSError as error:
        raise SettingsError(f"--root {options.root}: cannot be read: {error}") from error
    check_root(root, str(options.root))
    path = write_settings(options.dir, raw, root, disk)
    sys.stdout.write(f"{settings.device} is set up; start it with: edgewright-agent run --config {path}\n")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run the agent until it is told to stop; or once."""
    settings, once = read_settings(options.config), options.once
    wakeups = Wakeups()
    stop = stop_on_signals(wakeups.wake)
    with _only_agent(settings.directory):
        agent, watch = _agent(settings, stop, watched=not once)
        agent.clean_up()
        if watch is not None:
            watch.start(wakeups.wake)
        logging.getLogger(__name__).info("%s runs; repository %s", settings.device, settings.repository)
        while not stop.is_set():
            try:
                sleep = agent.step()
            except AgentError as error:
                if once:
                    raise
                logging.getLogger(__name__).error("%s: %s", error.reason, error.message)
                wakeups.wait(settings.retry)
                continue
            if sleep is not None:
                if once and not agent.throttled:
                    return _outcome(agent)
                wakeups.wait(sleep.seconds)
        if watch is not None:
            watch.stop()
    return 0


def _outcome(agent: Agent) -> int:
    if agent.settled:
        return 0
    _print_report(agent.report(), stream=sys.stderr)
    return 1


def status(options: argparse.Namespace) -> int:
    """Show what the device runs."""
    settings = read_settings(options.config)
    agent, _ = _agent(settings, threading.Event(), watched=False)
    report, standing = agent.report(), _standing(settings)
    if options.output == "json":
        said = report.model_dump(mode="json", exclude_none=True)
        if standing is not None:
            said["enrollment"] = standing.model_dump(mode="json", exclude_none=True)
        sys.stdout.write(json.dumps(said, indent=2) + "\n")
    else:
        _print_report(report, stream=sys.stdout)
        if standing is not None:
            why = f": {standing.message}" if standing.message else ""
            sys.stdout.write(f"  server: {standing.state} since {standing.since:%Y-%m-%d %H:%M} UTC{why}\n")
    return 0


def _standing(settings: Settings) -> EnrollmentState | None:
    """Return the state of the enrollment; None without a server."""
    if not settings.server:
        return None
    from edgewright_agent.identity.files import IdentityFiles

    return IdentityFiles(settings.directory, settings.device, Disk()).standing()


def probe(options: argparse.Namespace) -> int:
    """Run the golden samples of an active model again."""
    settings, model = read_settings(options.config), options.model
    link = settings.directory / MODELS / model / ACTIVE
    if not link.is_symlink():
        models = sorted(path.parent.name for path in (settings.directory / MODELS).glob(f"*/{ACTIVE}"))
        raise SettingsError(f"{model}: no such model is active here; active are: {', '.join(models) or 'none'}")
    outcome = _prober(settings, threading.Event()).verify(settings.directory, model)
    result = outcome.result()
    if options.output == "json":
        sys.stdout.write(json.dumps(result.model_dump(mode="json", exclude_none=True), indent=2) + "\n")
    else:
        figures = f"{result.samples} golden samples on {result.runtime}, largest error {result.max_error}"
        sys.stdout.write(f"{model}: {'passed' if outcome.passed else 'FAILED'}: {figures}, allowed {result.atol}\n")
        if not outcome.passed:
            sys.stdout.write(f"  {outcome.reason}: {outcome.message}\n")
    return 0 if outcome.passed else 1


def _agent(settings: Settings, stop: threading.Event, *, watched: bool) -> tuple[Agent, StartableWatch | None]:
    root = settings.directory / ROOT_FILE
    try:
        trusted = root.read_bytes()
    except OSError as error:
        raise SettingsError(f"{root}: cannot be read ({error}); set the device up again with init") from error
    check_root(trusted, str(root))
    disk, limits = Disk(), FetchLimits(settings.bandwidth, settings.window)
    opened = open_all(settings, disk, limits, stop.is_set)
    watch = opened.watch if watched else None
    ports = Ports(
        repository=opened.repository,
        reports=opened.reports,
        prober=_prober(settings, stop),
        disk=disk,
        now=lambda: datetime.now(UTC),
        clock=time.monotonic,
        watch=watch,
        limits=limits,
    )
    return Agent(settings, trusted, ports, stop.is_set), watch


def _prober(settings: Settings, stop: threading.Event) -> ChildProber:
    return ChildProber(
        settings.runtime, settings.python_path, settings.probe_timeout, stop.is_set, settings.probe_memory
    )


@contextlib.contextmanager
def _only_agent(directory: Path) -> Iterator[None]:
    """Keep a second agent out of the directory."""
    busy = f"{directory}: another agent runs here; stop it first"
    try:
        with alone(directory / "agent.lock", busy):
            yield
    except LocalError as error:
        if error.reason != "Busy":
            raise
        raise SettingsError(error.message) from error


def _print_report(report: Report, stream: IO[str]) -> None:
    stream.write(f"{report.device}: assignment {report.assignment_version or 'none yet'}\n")
    if report.reason:
        stream.write(f"  repository: {report.reason}: {report.message}\n")
    for model in report.models:
        stream.write(f"  {model.model}: {model.phase}, release {model.release}\n")
        for fact in ("installed", "active", "verified"):
            stream.write(f"    {fact:<9} {getattr(model, fact) or '-'}\n")
        if model.reason:
            stream.write(f"    {model.reason}: {model.message}\n")
