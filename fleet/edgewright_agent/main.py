"""The command ``edgewright-agent``: the composition root, the only module that wires the world to the agent.

Exit codes: 0 done, 1 it did not work out, 2 wrong use. Results go to stdout, the log to stderr.
"""

import argparse
import contextlib
import fcntl
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from edgewright_agent import __version__
from edgewright_agent.agent import Agent, Ports
from edgewright_agent.durable import Disk
from edgewright_agent.errors import AgentError, SettingsError
from edgewright_agent.observing import MODELS
from edgewright_agent.probe import ChildProber
from edgewright_agent.settings import (
    DEFAULT_RUNTIME,
    ROOT_FILE,
    SETTINGS_FILE,
    Settings,
    read_settings,
    settings_from,
    write_settings,
)
from edgewright_agent.slots import ACTIVE
from edgewright_agent.transport import file_url, open_reports, open_repository
from edgewright_agent.trust import check_root
from edgewright_wire.messages import Report

EXAMPLE = """example:
  edgewright-agent init --dir /var/lib/edgewright --device lane-7 \\
      --repository file:///mnt/share/repository --reports file:///mnt/share/reports --root root.json
  edgewright-agent run --config /var/lib/edgewright/agent.toml
"""


def run() -> None:
    """Entry point of the command."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    options = _parser().parse_args(arguments)
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(message)s", force=True)
    logging.getLogger("tuf").setLevel(logging.WARNING)
    try:
        match options.command:
            case "init":
                return _init(options)
            case "run":
                return _run(read_settings(options.config), once=options.once)
            case "status":
                return _status(read_settings(options.config), as_json=options.output == "json")
            case _:
                return _probe(read_settings(options.config), options.model, as_json=options.output == "json")
    except AgentError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in error.message.splitlines()))
        return 2 if isinstance(error, SettingsError) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgewright-agent",
        description="Fetches, proves and swaps this device's models, and says what it runs.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgewright-agent {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every action")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="set this device up")
    init.add_argument("--dir", type=Path, required=True, help="where the agent keeps everything")
    init.add_argument("--device", required=True, help="this device's id, as enrolled")
    init.add_argument("--repository", required=True, help="URL (or path) of the published repository")
    init.add_argument("--reports", required=True, help="URL (or path) of the report drop")
    init.add_argument("--root", type=Path, required=True, help="the repository's root.json, brought by a trusted way")
    init.add_argument("--device-class", help="the class of device, as in thresholds")
    init.add_argument("--poll", help="how often to look for something new, like 2s (default) or 5m")
    init.add_argument("--heartbeat", help="how often to report when nothing changes, like 30s (default)")
    init.add_argument("--runtime", metavar="MODULE:CLASS", help=f"what runs models (default {DEFAULT_RUNTIME})")
    init.add_argument("--python-path", action="append", metavar="DIR", help="where else to import the runtime from")
    init.add_argument("--probe-timeout", help="how long golden samples may take, like 60s (default)")

    once = "do what is due now and end: 0 when all that is assigned runs verified, else 1"
    running = commands.add_parser("run", help="run until stopped")
    running.add_argument("--once", action="store_true", help=once)
    status = commands.add_parser("status", help="show what this device runs")
    probe = commands.add_parser("probe", help="run the golden samples of an active model again")
    probe.add_argument("model", metavar="MODEL")
    for command in (running, status, probe):
        command.add_argument("--config", type=Path, required=True, metavar="AGENT.TOML")
    for command in (status, probe):
        command.add_argument("-o", "--output", choices=["text", "json"], default="text")
    return parser


def _init(options: argparse.Namespace) -> int:
    raw = {
        "device": options.device,
        "repository": file_url(options.repository),
        "reports": file_url(options.reports),
        "device_class": options.device_class,
        "poll": options.poll,
        "heartbeat": options.heartbeat,
        "runtime": options.runtime,
        "python_path": options.python_path and [str(Path(entry).absolute()) for entry in options.python_path],
        "probe_timeout": options.probe_timeout,
    }
    raw = {key: value for key, value in raw.items() if value is not None}
    disk = Disk()
    settings = settings_from(raw, options.dir / SETTINGS_FILE)
    open_repository(settings.repository)
    open_reports(settings.reports, disk)
    try:
        root = options.root.read_bytes()
    except OSError as error:
        raise SettingsError(f"--root {options.root}: cannot be read: {error}") from error
    check_root(root, str(options.root))
    path = write_settings(options.dir, raw, root, disk)
    sys.stdout.write(f"{settings.device} is set up; start it with: edgewright-agent run --config {path}\n")
    return 0


def _run(settings: Settings, *, once: bool) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _alone(settings.directory):
        agent = _agent(settings, stop)
        agent.tidy()
        logging.getLogger(__name__).info("%s runs; repository %s", settings.device, settings.repository)
        while not stop.is_set():
            try:
                sleep = agent.step()
            except AgentError as error:
                if once:
                    raise
                logging.getLogger(__name__).error("%s: %s", error.reason, error.message)
                stop.wait(settings.retry)
                continue
            if sleep is not None:
                if once:
                    return _outcome(agent)
                stop.wait(sleep.seconds)
    return 0


def _outcome(agent: Agent) -> int:
    if agent.settled:
        return 0
    _print_report(agent.report(), stream=sys.stderr)
    return 1


def _status(settings: Settings, *, as_json: bool) -> int:
    report = _agent(settings, threading.Event()).report()
    if as_json:
        sys.stdout.write(json.dumps(report.model_dump(mode="json", exclude_none=True), indent=2) + "\n")
    else:
        _print_report(report, stream=sys.stdout)
    return 0


def _probe(settings: Settings, model: str, *, as_json: bool) -> int:
    link = settings.directory / MODELS / model / ACTIVE
    if not link.is_symlink():
        models = sorted(path.parent.name for path in (settings.directory / MODELS).glob(f"*/{ACTIVE}"))
        raise SettingsError(f"{model}: no such model is active here; active are: {', '.join(models) or 'none'}")
    outcome = _prober(settings, threading.Event()).verify(settings.directory, model)
    result = outcome.result()
    if as_json:
        sys.stdout.write(json.dumps(result.model_dump(mode="json", exclude_none=True), indent=2) + "\n")
    else:
        figures = f"{result.samples} golden samples on {result.runtime}, largest error {result.max_error}"
        sys.stdout.write(f"{model}: {'passed' if outcome.passed else 'FAILED'}: {figures}, allowed {result.atol}\n")
        if not outcome.passed:
            sys.stdout.write(f"  {outcome.reason}: {outcome.message}\n")
    return 0 if outcome.passed else 1


def _agent(settings: Settings, stop: threading.Event) -> Agent:
    root = settings.directory / ROOT_FILE
    try:
        trusted = root.read_bytes()
    except OSError as error:
        raise SettingsError(f"{root}: cannot be read ({error}); set the device up again with init") from error
    check_root(trusted, str(root))
    disk = Disk()
    ports = Ports(
        repository=open_repository(settings.repository),
        reports=open_reports(settings.reports, disk),
        prober=_prober(settings, stop),
        disk=disk,
        now=lambda: datetime.now(UTC),
        clock=time.monotonic,
    )
    return Agent(settings, trusted, ports, stop.is_set)


def _prober(settings: Settings, stop: threading.Event) -> ChildProber:
    return ChildProber(settings.runtime, settings.python_path, settings.probe_timeout, stop.is_set)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep a second agent out of the directory."""
    try:
        lock = (directory / "agent.lock").open("w")
    except OSError as error:
        raise SettingsError(f"{directory}: cannot be written: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(f"{directory}: another agent runs here; stop it first") from error
        yield


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
