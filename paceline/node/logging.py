"""How a node speaks of itself: one line per event on stderr, for people or for programs."""

import logging
import os
import stat
import sys
from typing import TextIO

import structlog


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up structlog. `level` is debug, info, warning or error; `form` is console or json."""
    output = stream or sys.stderr
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=output.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=output, format="%(name)s: %(message)s")


def somebody_reads(stream: TextIO) -> bool:
    """Answer whether a terminal or a pipe takes what is written, not a file or a journal."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stream.isatty() or stat.S_ISFIFO(mode)
