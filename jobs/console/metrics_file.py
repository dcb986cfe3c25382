"""The numbers of a run as a file for Prometheus' node_exporter, written whole every few seconds.

Format: text exposition 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats, read 2026-11).
node_exporter reads `*.prom` in its textfile folder and refuses timestamps in it
(github.com/prometheus/node_exporter, README, "Textfile Collector").
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pipeline.core.errors import SettingsError
from pipeline.core.events import log_event

if TYPE_CHECKING:
    from pipeline.dataset.summary import RunSummary

log = logging.getLogger(__name__)

WRITE_EVERY_S: Final = 5.0
_MODE: Final = 0o644
"""node_exporter runs as another user."""


class MetricsFile:
    """Writes the numbers of one run.

    Args:
        name: The file; its folder must exist.
        labels: On every value, so that files of several runs can be told apart.
        clock: Seconds since 1970.

    Raises:
        SettingsError: if the file cannot be written.
    """

    def __init__(
        self, name: str, labels: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = Path(name)
        self._labels = labels
        self._clock = clock
        self._started = clock()
        self._is_failing = False
        if not name or self._file.is_dir():
            raise SettingsError("is a folder", which="--metrics-file", found=name or "''")
        try:
            self._write("")
        except OSError as error:
            raise SettingsError(
                f"cannot be written: {error.strerror}",
                which="--metrics-file",
                found=name,
                cure="name a file in a folder that exists and may be written",
            ) from error

    def write(self, now: "RunSummary") -> None:
        """Write the numbers; a failure is logged once, and does not stop the run."""
        try:
            self._write(metrics_text(now, self._labels, self._started, self._clock()))
        except OSError as error:
            if not self._is_failing:
                log_event(log, logging.WARNING, "metrics_file.not_written", error=str(error))
            self._is_failing = True
        else:
            self._is_failing = False

    @contextmanager
    def following(self, snapshot: "Callable[[], RunSummary]") -> Iterator[None]:
        """Write every few seconds of the running event loop, and when the body ends."""
        loop = asyncio.get_running_loop()

        timer: asyncio.Handle

        def act() -> None:
            nonlocal timer
            self.write(snapshot())
            timer = loop.call_later(WRITE_EVERY_S, act)

        timer = loop.call_soon(act)
        try:
            yield
        finally:
            timer.cancel()
            now = snapshot()
            # A run that failed before it began has no state of its own.
            self.write(replace(now, state="failed") if now.state == "running" else now)

    def _write(self, text: str) -> None:
        # The suffix is another one, so that node_exporter does not read the file.
        unfinished = self._file.with_name(f".{self._file.name}.{os.getpid()}.tmp")
        try:
            with unfinished.open("w", encoding="utf-8") as stream:
                stream.write(text)
            unfinished.chmod(_MODE)
            unfinished.replace(self._file)
        except OSError:
            with suppress(OSError):
                unfinished.unlink()
            raise


def metrics_text(
    now: "RunSummary", labels: Mapping[str, str], started: float, updated: float
) -> str:
    """Return the numbers of a run in the text format of Prometheus.

    Args:
        now: The numbers.
        labels: On every value.
        started: When the run began, in seconds since 1970.
        updated: When the numbers were taken.
    """
    from pipeline.dataset.exported_metrics import METRICS

    ended = updated if now.state != "running" else None
    times = {
        "rerank_start_time_seconds": ("When the run began.", started),
        "rerank_last_update_time_seconds": ("When this was written.", updated),
        "rerank_end_time_seconds": ("When the run ended; absent before.", ended),
    }
    lines = [
        line
        for name, (text, value) in times.items()
        for line in _family(name, "gauge", text, {} if value is None else {"": value}, "", labels)
    ]
    for metric in METRICS:
        found = metric.read(now)
        values = found if isinstance(found, Mapping) else {"": found}
        known = {key: value for key, value in values.items() if value is not None}
        name = metric.prometheus_name
        lines += _family(name, metric.kind, metric.help, known, metric.label, labels)
    return "\n".join(lines) + "\n"


def _family(
    name: str,
    kind: str,
    text: str,
    values: Mapping[str, float],
    label: str,
    labels: Mapping[str, str],
) -> Iterator[str]:
    if not values:
        return
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for key, value in values.items():
        own = {**labels, label: key} if label else labels
        shown = ",".join(f'{of}="{_escaped(text)}"' for of, text in own.items())
        yield f"{name}{{{shown}}} {float(value)!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
