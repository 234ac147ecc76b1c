"""Options about a server, for ``init`` and ``enroll``. Called by ``main``.

Only words here: what they are for is imported when a command runs.
"""

import argparse
from pathlib import Path
from typing import Any

from edgewright_agent.errors import SettingsError


def add_server(init: argparse.ArgumentParser) -> None:
    """Add the options of ``init`` for a server."""
    server = init.add_argument_group("over HTTP")
    server.add_argument("--server", metavar="URL", help="edgewright's server; stands for --repository and --reports")
    server.add_argument("--ca", metavar="FILE", help="the only authority to trust for servers' certificates")
    server.add_argument("--insecure-http", action="store_true", help="allow reports over plain HTTP")
    server.add_argument("--long-poll", help="ask the server to wait so long for a change, like 30s")
    server.add_argument("--bandwidth", help="fetch packages no faster than this, like 500KiB/s")
    server.add_argument("--window", help="fetch packages only then, local time, like 22:00-06:00")
    server.add_argument("--token-file", metavar="FILE", help="holds what lets this device enroll by itself")
    _add_label(server)


def add_enroll(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    enroll = commands.add_parser("enroll", help="ask the server for this device's certificate")
    enroll.add_argument("--config", type=Path, required=True, metavar="AGENT.TOML")
    token = enroll.add_mutually_exclusive_group()
    token.add_argument(
        "--token", help="what lets this device in without an operator; others see it in the process list"
    )
    token.add_argument("--token-file", type=Path, metavar="FILE", help="the same, from a file")
    _add_label(enroll)
    enroll.add_argument("--wait", action="store_true", help="keep asking until an operator has decided")
    enroll.add_argument("-o", "--output", choices=["text", "json"], default="text")


def _add_label(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    parser.add_argument(
        "--label", action="append", default=[], metavar="KEY=VALUE", help="say this of the device; may be repeated"
    )


def server_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Take what ``init`` was given of it, by the keys of agent.toml.

    Raises:
        SettingsError: A label is none.
    """
    given = {
        "server": options.server,
        "ca": options.ca and str(Path(options.ca).absolute()),
        "insecure_http": options.insecure_http or None,
        "long_poll": options.long_poll,
        "bandwidth": options.bandwidth,
        "window": options.window,
        "token_file": options.token_file and str(Path(options.token_file).absolute()),
        "labels": labels_of(options) or None,
    }
    return {key: value for key, value in given.items() if value is not None}


def labels_of(options: argparse.Namespace) -> dict[str, str]:
    """Read ``--label KEY=VALUE``, however often.

    Raises:
        SettingsError: One is none.
    """
    labels: dict[str, str] = {}
    for text in options.label:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise SettingsError(f"--label {text}: KEY=VALUE is expected")
        labels[key] = value
    return labels
