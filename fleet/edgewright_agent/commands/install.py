"""``install``, ``uninstall``, ``rollback`` and ``installed``: a device that another system updates. Called by ``main``.

Each prints its evidence as one line of canonical JSON, whether or not it worked out.
"""

import argparse
import logging
import sys
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from edgewright_agent.commands.shared import alone, runtime_options, stop_on_signals
from edgewright_agent.durable import Disk
from edgewright_agent.errors import SettingsError, local_error
from edgewright_agent.models.installer import Installer
from edgewright_agent.models.payload import read_order
from edgewright_agent.probing.prober import ChildProber
from edgewright_agent.settings import InstallerSettings, read_installer_settings
from edgewright_wire.evidence import Evidence, InstalledEvidence, Nonce
from edgewright_wire.messages import Phase
from edgewright_wire.names import MODEL_NAME_RULE, is_model_name

log = logging.getLogger(__name__)

LOCK_FILE = "installer.lock"
PATIENCE = 60.0
"""Seconds to wait for another order to end, beside the two probes it may run."""


def execute(command: str, options: argparse.Namespace) -> int:
    """Carry one of the commands out."""
    _check_options(options)
    settings = read_installer_settings(options.dir, runtime_options(options))
    disk = Disk()
    if command == "installed" and not options.probe:
        _say(options, InstalledEvidence(nonce=options.nonce, models=_installer(settings, disk).installed()))
        return 0
    order = read_order(options.payload) if command == "install" else None
    try:
        disk.make_directory(settings.directory)
    except OSError as error:
        raise local_error(error, f"making {settings.directory}") from error
    busy = f"{settings.directory}: another order is being carried out; give this one again when that has ended"
    with alone(settings.directory / LOCK_FILE, busy, PATIENCE + 2 * settings.probe_timeout):
        installer = _installer(settings, disk)
        if command == "installed":
            models = installer.prove()
            _say(options, InstalledEvidence(nonce=options.nonce, models=models))
            return 1 if any(model.active != model.verified for model in models) else 0
        if order is not None:
            report = installer.install(order, options.payload)
        else:
            report = installer.uninstall(options.model) if command == "uninstall" else installer.rollback(options.model)
        _say(options, Evidence(nonce=options.nonce, model=report))
        return 1 if report.phase is Phase.FAILED else 0


def _installer(settings: InstallerSettings, disk: Disk) -> Installer:
    stopped = stop_on_signals().is_set
    prober = ChildProber(settings.runtime, settings.python_path, settings.probe_timeout, stopped, settings.probe_memory)
    return Installer(settings.directory, disk, prober, lambda: datetime.now(UTC), stopped)


def _check_options(options: argparse.Namespace) -> None:
    """Refuse before anything is done what would spoil the answer.

    Raises:
        SettingsError: A name or the nonce cannot be used, or the evidence could not be written.
    """
    problems = []
    if "model" in options and not is_model_name(options.model):
        problems.append(f"{options.model!r} is not a model's name: {MODEL_NAME_RULE}")
    if not _is(TypeAdapter(Nonce), options.nonce):
        problems.append("--nonce: at most 256 characters")
    folder = options.evidence.absolute().parent if options.evidence is not None else options.dir.absolute()
    if folder != options.dir.absolute() and not folder.is_dir():
        problems.append(f"--evidence {options.evidence}: there is no directory {folder}")
    if problems:
        raise SettingsError("\n".join(problems))


def _is(kind: TypeAdapter[str], text: str) -> bool:
    try:
        kind.validate_python(text)
    except ValidationError:
        return False
    return True


def _say(options: argparse.Namespace, evidence: Evidence | InstalledEvidence) -> None:
    """Print the evidence, and write it where it was asked for."""
    data = evidence.to_bytes() + b"\n"
    if options.evidence is not None:
        try:
            Disk().write(options.evidence.absolute(), data)
        except OSError as error:
            log.error("%s: the evidence cannot be written there: %s", options.evidence, error)
    sys.stdout.write(data.decode())
