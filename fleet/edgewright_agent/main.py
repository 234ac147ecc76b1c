"""The command ``edgewright-agent``: reads the command line; what each command does is in ``commands``.

Exit codes: 0 done, 1 it did not work out, 2 wrong use. Results go to stdout, the log to stderr.
"""

import argparse
import logging
import sys
from pathlib import Path

from edgewright_agent import __version__
from edgewright_agent.commands.server_options import add_enroll, add_server
from edgewright_agent.errors import AgentError, SettingsError
from edgewright_agent.settings import DEFAULT_RUNTIME, INSTALLER_FILE

EXAMPLE = """example:
  edgewright-agent init --dir /var/lib/edgewright --device lane-7 \\
      --server https://edgewright.example/agent/default --root root.json
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
        return _execute(options)
    except AgentError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in error.message.splitlines()))
        return 2 if isinstance(error, SettingsError) else 1


def _execute(options: argparse.Namespace) -> int:
    command: str = options.command
    if command in {"init", "run", "status", "probe"}:
        from edgewright_agent.commands import run as running

        agent = {"init": running.init, "run": running.run, "status": running.status, "probe": running.probe}
        return agent[command](options)
    if command == "enroll":
        from edgewright_agent.commands import enroll

        return enroll.enroll(options)
    if command == "tuf":
        from edgewright_agent.commands import tuf

        return tuf.execute(options)
    if command == "mender-module":
        from edgewright_agent.commands import mender

        return mender.execute(options)
    from edgewright_agent.commands import install as installing

    return installing.execute(command, options)


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

    _add_agent(commands)
    _add_installer(commands)
    _add_mender(commands)
    _add_tuf(commands)
    return parser


def _add_agent(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    init = commands.add_parser("init", help="set this device up")
    init.add_argument("--dir", type=Path, required=True, help="where the agent keeps everything")
    init.add_argument("--device", required=True, help="this device's id, as enrolled")
    init.add_argument("--repository", help="URL (or path) of the published repository")
    init.add_argument("--reports", help="URL (or path) of the report drop")
    init.add_argument("--root", type=Path, required=True, help="the repository's root.json, brought by a trusted way")
    init.add_argument("--device-class", help="the class of device, as in thresholds")
    init.add_argument("--poll", help="how often to look for something new, like 2s (default; over HTTP 60s)")
    init.add_argument("--heartbeat", help="how often to report when nothing changes, like 30s (default)")
    add_server(init)
    _add_runtime(init)
    add_enroll(commands)

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


def _add_installer(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    install = commands.add_parser("install", help="install a model that another update system has brought")
    install.add_argument(
        "--from", dest="payload", type=Path, required=True, metavar="PAYLOAD", help="the payload's folder"
    )
    uninstall = commands.add_parser("uninstall", help="take such a model away")
    rollback = commands.add_parser("rollback", help="go back to what was active before the last install")
    for command in (uninstall, rollback):
        command.add_argument("model", metavar="MODEL")
    installed = commands.add_parser("installed", help="show what is installed, and what was proved of it here")
    installed.add_argument("--probe", action="store_true", help="run the golden samples of what is active again")
    for command in (install, uninstall, rollback, installed):
        command.add_argument(
            "--dir", type=Path, required=True, help="where models, and all that belongs to them, are kept"
        )
        command.add_argument("--nonce", default="", help="comes back in the evidence, to tell it from an earlier one")
        command.add_argument("--evidence", type=Path, metavar="FILE", help="write the evidence into this file too")
        _add_runtime(command, f"; what is not given here is read from {INSTALLER_FILE} in --dir, if there is one")


def _add_tuf(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    tuf = commands.add_parser("tuf", help="verify any TUF repository the way the agent does, as conformance suites do")
    tuf.add_argument("--metadata-dir", type=Path, required=True, metavar="DIR", help="where trusted metadata is kept")
    tuf.add_argument("--metadata-url", metavar="URL", help="where the repository's metadata is")
    tuf.add_argument("--target-name", action="append", metavar="PATH", help="a target to download; may be repeated")
    tuf.add_argument("--target-dir", type=Path, metavar="DIR", help="where targets are downloaded to")
    tuf.add_argument("--target-base-url", metavar="URL", help="where the repository's targets are")
    verbs = tuf.add_subparsers(dest="verb", required=True, metavar="VERB")
    init = verbs.add_parser("init", help="trust a root from now on")
    init.add_argument("trusted_root", type=Path, metavar="ROOT.JSON")
    verbs.add_parser("refresh", help="take up the repository's newest state")
    verbs.add_parser("download", help="refresh, and download targets")


def _add_mender(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    mender = commands.add_parser("mender-module", help="let Mender's client on this device install and prove models")
    mender.add_argument("--dir", type=Path, required=True, help="where models are kept: the fleet's delivery.root")
    mender.add_argument(
        "--into", type=Path, default=Path("/usr/share/mender"), metavar="DIR", help="the client's folder (%(default)s)"
    )
    mender.add_argument(
        "--agent", type=Path, metavar="FILE", help="the command edgewright-agent, as the client runs it"
    )
    mender.add_argument(
        "--print",
        choices=["edgewright", "mender-inventory-edgewright"],
        help="print the update module or the inventory script, and write nothing",
    )


def _add_runtime(parser: argparse.ArgumentParser, more: str = "") -> None:
    parser.add_argument("--runtime", metavar="MODULE:CLASS", help=f"what runs models (default {DEFAULT_RUNTIME}){more}")
    parser.add_argument("--python-path", action="append", metavar="DIR", help="where else to import the runtime from")
    parser.add_argument("--probe-timeout", help="how long golden samples may take, like 60s (default)")
