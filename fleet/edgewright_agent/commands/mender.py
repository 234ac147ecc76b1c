"""``mender-module``: lets Mender's client on this device install and prove models. Called by ``main``.

Two scripts: the update module, and an inventory script that shows its evidence. Both carry the directory that models
are kept in, and the command that looks after it.
"""

import argparse
import os
import shlex
import shutil
import sys
from importlib import resources
from pathlib import Path

from edgewright_agent.durable import Disk
from edgewright_agent.errors import SettingsError, local_error

SCRIPTS = {"edgewright": "modules/v3", "mender-inventory-edgewright": "inventory"}
"""Names of the scripts, and where the client looks for them."""
_COMMAND = "edgewright-agent"


def execute(options: argparse.Namespace) -> int:
    """Write the scripts, or print one."""
    root = options.dir
    if not root.is_absolute() or "\n" in str(root):
        raise SettingsError(f"--dir {root}: give an absolute path, the one that the fleet's delivery.root says")
    agent = _agent(options.agent)
    if options.print is not None:
        sys.stdout.write(script(options.print, root, agent))
        return 0
    into: Path = options.into
    if not into.is_dir():
        raise SettingsError(f"{into}: there is no such folder; install Mender's client first, or name it with --into")
    disk = Disk()
    for name, folder in SCRIPTS.items():
        path = into / folder / name
        try:
            disk.make_directory(path.parent)
            disk.write(path, script(name, root, agent).encode(), 0o755)
        except OSError as error:
            raise local_error(error, f"writing {path}") from error
        sys.stdout.write(f"{path}\n")
    return 0


def script(name: str, root: Path, agent: Path) -> str:
    """Make one of the scripts.

    Args:
        name: Of ``SCRIPTS``.
        root: Where models are kept.
        agent: The command ``edgewright-agent``.
    """
    text = resources.files("edgewright_agent").joinpath("mender", name).read_text("utf-8")
    return text.replace("@ROOT@", shlex.quote(str(root)), 1).replace("@AGENT@", shlex.quote(str(agent)), 1)


def _agent(given: Path | None) -> Path:
    """Find the command by which this program runs, where the client's own PATH need not lead."""
    itself = Path(sys.argv[0])
    found = given or (itself if itself.name == _COMMAND else shutil.which(_COMMAND))
    agent = Path(found).absolute() if found else None
    if agent is None or not os.access(agent, os.X_OK):
        raise SettingsError(f"{agent or _COMMAND}: no such command; say where it is with --agent")
    return agent
