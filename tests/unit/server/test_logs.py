"""Logs of ``edgewright serve``: one form, whoever writes them."""

import json
import logging

import pytest
import structlog

from edgewright.cli.logs import configure_logging


def test_what_libraries_and_drivers_log_has_the_form_of_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(as_json=True)

    structlog.get_logger().info("serving", url="http://127.0.0.1:1")
    logging.getLogger("edgewright.delivery.pushed.ssh.driver").warning("%s: %s", "pi-1", "HostKeyMismatch")
    logging.getLogger("somebody.else").info("chatter")
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("somebody.else").exception("a request failed")

    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in said] == [
        ("info", "serving"),
        ("warning", "pi-1: HostKeyMismatch"),
        ("error", "a request failed"),
    ]
    assert all("timestamp" in line for line in said)
    assert said[1]["logger"] == "edgewright.delivery.pushed.ssh.driver"
    assert "ValueError: odd" in said[2]["exception"]
