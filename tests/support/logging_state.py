"""The logging of the test process, which commands configure for themselves."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jobs.console.log_format import choose_format


@contextmanager
def restored_logging() -> Iterator[None]:
    """Restore handlers, levels and the format of failures when the body ends."""
    loggers = [logging.getLogger(name) for name in (None, "pipeline", "jobs")]
    handlers, levels = loggers[0].handlers[:], [logger.level for logger in loggers]
    try:
        yield
    finally:
        for handler in loggers[0].handlers:
            if handler not in handlers:
                with suppress(OSError):  # a file that cannot be written
                    handler.close()
        loggers[0].handlers[:] = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        logging.captureWarnings(False)
        choose_format("text")
