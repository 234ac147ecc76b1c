"""Logs of commands that stay: lines for people on a terminal, JSON for machines. Called by ``commands/serve``."""

import logging
import sys

import structlog


def configure_logging(*, as_json: bool) -> None:
    """Write logs to stderr, each with its time and level; what libraries log from warnings on."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    common: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[structlog.types.Processor] = [
        structlog.processors.format_exc_info if as_json else _unchanged,
        renderer,
    ]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *common, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("edgewright").setLevel(logging.INFO)


def _unchanged(logger: object, name: str, event: "structlog.typing.EventDict") -> "structlog.typing.EventDict":
    return event
