"""The page of a backfill: sums over its partitions, and a row for each.

It is made of the records of the runs and the footers of the parts; the rankings are not read.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from pipeline.core.errors import InputError, OutputFailed
from pipeline.output.backfill_record import (
    backfill_state,
    begun_partitions,
    planned_partitions,
)
from pipeline.output.layout import REPORT_NAME
from pipeline.output.reader import open_output
from pipeline.report import overview, words
from pipeline.report.page import render
from pipeline.report.tries import Story, read_story
from pipeline.storage.location import Location

_STATES: Final = {**words.STATES, "partial": "ended with too many rejects in a partition"}


class ReportedPartition(Struct, frozen=True, kw_only=True):
    """One partition on the page; one that has not begun has only zeros.

    Attributes:
        name: `KEY=VALUE`.
        link: Where its own page is, if it has one that can be reached from this page.
        story: The runs on it; None if it is not begun.
        queries: Queries that are ranked and written.
        candidates: Their candidates.
        lost: Candidates without a score.
    """

    name: str
    link: str | None = None
    story: Story | None = None
    queries: int = 0
    candidates: int = 0
    lost: int = 0

    @property
    def state(self) -> str:
        """Its state, in a word."""
        return "waiting" if self.story is None else self.story.state

    @property
    def error(self) -> str | None:
        """The error of its last run, unless it is done."""
        if self.story is None or not self.story.tries or self.story.state == "done":
            return None
        return self.story.tries[-1].record.error

    @property
    def requests(self) -> float:
        """Requests that were paid."""
        return self._total("requests")

    @property
    def reused(self) -> float:
        """Requests that were answered from the score store."""
        return self._total("requests_reused")

    @property
    def tokens(self) -> float:
        """Tokens that were paid."""
        return self._total("total_tokens")

    @property
    def cost(self) -> str:
        """The cost of these tokens."""
        return words.usd(self._total("cost_usd"))

    @property
    def took(self) -> str:
        """How long its runs took."""
        return "–" if self.story is None else words.short_time(self.story.seconds)

    @property
    def bound_by(self) -> str:
        """The cause that held it back most."""
        bound_s = {} if self.story is None else self.story.bound_s()
        cause = next(iter(bound_s), "–")
        return words.CAUSES.get(cause, cause)

    def _total(self, name: str) -> float:
        return 0.0 if self.story is None else self.story.total(name)


def make_backfill_report(root: Location, made_at: datetime, *, has_links: bool) -> str:
    """Return the page of a backfill.

    Args:
        root: Its OUTPUT_ROOT.
        made_at: Now.
        has_links: Whether the page is written into `root`, from where it can link to the pages of
            the partitions.

    Raises:
        InputError: if a file cannot be read.
        SettingsError: without the extra `report`.
    """
    try:
        partitions = list(_read_partitions(root, has_links=has_links))
        own = read_story(root).tries  # of the backfill itself: partitions overlap in time
        done = sum(one.state == "done" for one in partitions)
        last = own[-1].record if own else None
        state = backfill_state(root, last, is_done=done == len(partitions))
    except OutputFailed as error:
        raise InputError(error.what, which=error.which) from error
    stories = [one.story for one in partitions if one.story is not None]
    story = Story(state=state, tries=tuple(one for each in stories for one in each.tries))
    seconds = sum(one.seconds for one in own)
    candidates, queries, lost = (
        sum(getattr(one, name) for one in partitions) for name in ("candidates", "queries", "lost")
    )
    tiles = [
        ("partitions done", words.count(done), f"of {len(partitions):,}"),
        ("queries", words.count(queries), ""),
        ("candidates", words.count(candidates), f"{lost:,} without a score" if lost else ""),
        *overview.work_tiles(story, seconds, len(own)),
    ]
    ended_with = None if last is None or state == "done" else last.error
    return render(
        "backfill.html.j2",
        {
            "output": root.name,
            "story": story,
            "state": _STATES[state],
            "lead": overview.lead(candidates, queries, seconds),
            "notes": list(_notes(ended_with)),
            "tiles": tiles,
            "details": list(overview.work_details(story)),
            "caption": _caption(partitions),
            "partitions": partitions,
            "made_at": f"{made_at:%Y-%m-%d %H:%M}",
        },
    )


def _read_partitions(root: Location, *, has_links: bool) -> Iterator[ReportedPartition]:
    """Yield all partitions by name."""
    begun = {one.folder: one.location for one in begun_partitions(root)}
    for name in sorted({*planned_partitions(root), *begun}):
        location = begun.get(name)
        if location is None:
            yield ReportedPartition(name=name)
            continue
        parts = open_output(location.name).parts
        has_page = has_links and location.child(REPORT_NAME).exists()
        yield ReportedPartition(
            name=name,
            link=f"{quote(name, safe='=')}/{REPORT_NAME}" if has_page else None,
            story=read_story(location),
            queries=sum(part.num_groups for part in parts),
            candidates=sum(part.num_candidates for part in parts),
            lost=sum(part.num_rejected + part.num_skipped for part in parts),
        )


def _notes(ended_with: str | None) -> Iterator[str]:
    if ended_with is not None:
        yield f"The last run ended with: {words.shorten(ended_with, 400)}"


def _caption(partitions: Sequence[ReportedPartition]) -> str:
    text = "All partitions by name, each with all runs on it; some were in work at the same time."
    if any(one.link for one in partitions):
        return f"{text} Names lead to the pages of their own."
    return f"{text} rerank report OUTPUT_ROOT/KEY=VALUE writes a page about one of them."
