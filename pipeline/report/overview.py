"""The sentences and single numbers of a page."""

from collections.abc import Iterator

from pipeline.output.reader import WrittenOutput
from pipeline.report import words
from pipeline.report.ranking_facts import RankingFacts
from pipeline.report.tries import Story


def lead(candidates: int, queries: int, seconds: float) -> str:
    """Return the sentence at the top; without the time if it is not known (0)."""
    if not candidates:
        return "No candidate is ranked and written yet."
    text = f"{candidates:,} candidates of {queries:,} queries are ranked and written"
    return f"{text}, after {words.short_time(seconds)} of running." if seconds else f"{text}."


def notes(
    output: WrittenOutput,
    story: Story,
    facts: RankingFacts,
    *,
    judges: bool,
    have_texts: bool,
) -> Iterator[str]:
    """Yield notes that a reader needs before the numbers, each a sentence.

    Args:
        output: The output.
        story: Its runs.
        facts: Its rankings.
        judges: Whether the page shall judge the rankings or compare them with others.
        have_texts: Whether there are texts of documents to show.
    """
    last = story.tries[-1].record if story.tries else None
    if last is not None and last.error is not None and story.state != "done":
        yield f"The last run ended with: {words.shorten(last.error, 400)}"
    if story.is_side_by_side:
        yield (
            "Some runs went on side by side, as shards do: the page puts them one after the other,"
            " and adds up their times."
        )
    if not output.is_finished:
        yield "This output is not finished: the page shows what is written so far."
    if not facts.queries and judges:
        yield "No query is written, so there is nothing to judge or to compare."
    if facts.candidates and not have_texts:
        yield (
            "Documents are shown without their texts: give --input, or write them with"
            " rerank run --with-text."
        )


def tiles(story: Story, facts: RankingFacts) -> Iterator[tuple[str, str, str]]:
    """Yield the numbers at the top: name, value, and a remark or nothing."""
    last = story.tries[-1].record if story.tries else None
    groups = None if last is None else last.groups
    of = "" if groups is None or groups == facts.queries else f"of {groups:,}"
    yield "queries", words.count(facts.queries), of
    lost = sum(facts.rejects.values())
    yield "candidates", words.count(facts.candidates), f"{lost:,} without a score" if lost else ""
    yield from work_tiles(story, story.seconds, len(story.tries))


def work_tiles(story: Story, seconds: float, tries: int) -> Iterator[tuple[str, str, str]]:
    """Yield what all runs did, as `tiles` does.

    Args:
        story: The runs.
        seconds: How long they took.
        tries: How many tries that were.
    """
    requests, reused = story.total("requests"), story.total("requests_reused")
    yield "requests paid", words.count(requests), f"{reused:,.0f} reused" if reused else ""
    yield "tokens", words.count(story.total("total_tokens")), ""
    perhaps = story.total("unanswered_usd")
    more = f"and perhaps {words.usd(perhaps)} more" if perhaps else ""
    yield "cost", words.usd(story.total("cost_usd")), more
    yield "time", words.short_time(seconds), f"in {tries:,} tries" if tries > 1 else ""
    rate = requests / seconds if seconds else 0.0
    yield "requests per second", f"{rate:,.1f}", ""
    throttled = story.total("throttled")
    yield "429s", words.count(throttled), ""


def details(story: Story, facts: RankingFacts) -> Iterator[tuple[str, str]]:
    """Yield the names and values below them."""
    yield from work_details(story)
    if facts.merge_status:
        proved = facts.proved[-1] / max(sum(facts.proved), 1)
        yield "queries with every place proved", words.percent(proved)


def work_details(story: Story) -> Iterator[tuple[str, str]]:
    """Yield what held the runs back and how often they tried, as `details` does."""
    bound_s = story.bound_s()
    total_s = sum(bound_s.values())
    if total_s:
        shares = (f"{words.CAUSES.get(c, c)} {s / total_s:.0%}" for c, s in bound_s.items())
        yield "held back by", ", ".join(shares)
    if story.total("outage_s"):
        yield "service down at the end for", words.short_time(story.total("outage_s"))
    yield "attempts", words.count(story.total("requests_sent"))
    yield "failed attempts", words.count(story.total("requests_failed"))
    yield "retries after failures", words.count(story.total("retries"))


def agreement(facts: RankingFacts) -> Iterator[tuple[str, str]]:
    """Yield figures of agreement with the first stage, each a name and a mean."""
    if facts.by_query is None or not facts.by_query.height:
        return
    means = {name: facts.by_query[name].mean() for name in ("overlap@10", "RBO", "tau")}
    labels = {
        "overlap@10": "first ten places shared with the first stage",
        "RBO": "rank-biased overlap (p = 0.9) with the first stage",
        "tau": "Kendall's tau with the first stage",
    }
    for name, mean in means.items():
        yield labels[name], words.figure(mean if isinstance(mean, float) else None)


def sampled(facts: RankingFacts) -> str:
    """Return a sentence on what is taken from a sample; nothing if all is counted."""
    if not facts.is_sampled:
        return ""
    return (
        f"Movement, scores and agreement are taken from a sample: {facts.queries_sampled:,} of"
        f" {facts.queries:,} queries ({facts.candidates_sampled:,} of {facts.candidates:,}"
        " candidates), whole parts spread evenly over the output. All else counts everything."
    )
