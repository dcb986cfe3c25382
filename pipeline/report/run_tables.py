"""The tables of an output's runs, and of their settings."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.output.reader import WrittenOutput
from pipeline.report import words
from pipeline.report.tries import Story, Try

_MAX_TRIES: Final = 50
"""Rows of the table of tries; of more the last ones."""

_SETTINGS: Final = (
    *("provider", "model", "instruct", "top_n", "merge", "certify_depth", "long_documents"),
    *("duplicates", "reuse", "limit"),
)


def try_rows(story: Story) -> list[Mapping[str, Any]]:
    """Return the rows of the table of tries, oldest first, by the columns' names."""
    return [_row(one) for one in story.tries[-_MAX_TRIES:]]


def _row(one: Try) -> Mapping[str, Any]:
    record = one.record
    state = one.state if record.state != "running" or one.state == "running" else "was killed"
    code = "" if record.exit_code is None else f" (exit {record.exit_code})"
    return {
        "number": one.number,
        "started": record.started[:19].replace("T", " "),
        "took": words.short_time(one.seconds),
        "ended": f"{state}{code}",
        "requests": words.count(record.requests),
        "reused": words.count(record.requests_reused),
        "throttled": words.count(record.throttled),
        "failed": words.count(record.requests_failed),
        "cost": words.usd(record.cost_usd),
        "bound_by": words.CAUSES.get(one.bound_by, one.bound_by) or "–",
        "error": record.error,
    }


def tries_caption(story: Story) -> str:
    """Return what the table of tries holds."""
    count = len(story.tries)
    which = f"The last {_MAX_TRIES} of {count:,} runs" if count > _MAX_TRIES else "All runs"
    return f"{which} on this output, oldest first; each continues where the one before it ended."


def used_settings(output: WrittenOutput, story: Story) -> Iterator[tuple[str, str]]:
    """Yield the settings of the output, and of its last run, as names and values."""
    settings = output.manifest.settings
    for name in _SETTINGS:
        if (value := settings.get(name)) is not None:
            yield name.replace("_", " "), words.shorten(str(value), 200)
    if story.tries:
        record = story.tries[-1].record
        yield "input", words.shorten(record.input, 200)
        for name, limit in record.limits.items():
            yield name.replace("_", " "), words.number(limit)
    yield "begun", f"{output.manifest.created:%Y-%m-%d %H:%M} (UTC)"
    yield "parts", words.count(len(output.parts))
