"""The report of an output: everything that its page shows, gathered and rendered.

Works for an output in any state: what is not there yet, or not any more, is said on the page.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from pipeline.core.errors import RerankError
from pipeline.core.providers import find_provider
from pipeline.output.reader import WrittenOutput
from pipeline.report import words
from pipeline.report.against import Against, compare
from pipeline.report.examples import NUM_QUERIES, Examples, ShownQuery
from pipeline.report.judged import Interval, judge
from pipeline.report.page import render
from pipeline.report.ranking_charts import judged_charts, overlaps, ranking_charts
from pipeline.report.ranking_facts import MAX_ROWS, RankingFacts, read_ranking_facts
from pipeline.report.run_charts import run_charts
from pipeline.report.tries import Story, Try, read_story

if TYPE_CHECKING:
    from ir_measures import Measure

MAX_PLANNED: Final = 200_000
"""Rows of an input that is planned anew for the page; a larger one would take too long."""

MAX_TRIES: Final = 50
"""Rows of the table of tries; of more the last ones."""

_SETTINGS: Final = (
    *("provider", "model", "instruct", "top_n", "merge", "certify_depth", "long_documents"),
    *("duplicates", "reuse", "limit"),
)


class PlannedCost(Struct, frozen=True, kw_only=True):
    """What `rerank plan` says of the input.

    Attributes:
        requests: Of the first round.
        tokens: Of these.
    """

    requests: int
    tokens: int
    cost_usd: float


class Request(Struct, frozen=True, kw_only=True):
    """What a report shall hold.

    Attributes:
        qrels_name: Judgements; None for none.
        measures: Each measure once; the first one sorts the queries.
        against: Another output of the same queries; None for none.
        input_name: The input, for texts and the order before where `--top-n` cut the output.
        planned: What the plan of the input says; None if it is not known.
        max_rows: Candidates that are looked at; a larger output is sampled.
        made_at: Now.
    """

    qrels_name: str | None = None
    measures: Sequence["Measure"] = ()
    against: WrittenOutput | None = None
    input_name: str | None = None
    planned: PlannedCost | None = None
    max_rows: int = MAX_ROWS
    made_at: datetime


def make_report(output: WrittenOutput, asked: Request) -> str:
    """Return the page of an output.

    Raises:
        InputError: if a file cannot be read or understood.
        SettingsError: without the extra `report`.
    """
    story = read_story(output.location)
    facts = read_ranking_facts(output, max_rows=asked.max_rows)
    examples = Examples(output, asked.input_name)
    judged, against, changed = None, None, list[ShownQuery]()
    if facts.queries and asked.qrels_name is not None:
        judged = judge(
            output,
            asked.qrels_name,
            asked.measures,
            input_name=asked.input_name,
            examples=examples,
        )
    elif facts.by_query is not None and facts.by_query.height:
        changed = _changed(facts, examples)
    if facts.queries and asked.against is not None:
        against = compare(output, asked.against, asked.qrels_name, asked.measures)
    return render(
        {
            "output": output.location.name,
            "story": story,
            "state": words.STATES[story.state],
            "lead": _lead(story, facts),
            "notes": list(_notes(output, story, facts, asked, examples)),
            "tiles": list(_tiles(story, facts)),
            "details": list(_details(story, facts)),
            "judged": judged,
            "change_class": _change_class,
            "judged_charts": [] if judged is None else list(judged_charts(judged)),
            "agreement": list(_agreement(facts)),
            "changed": changed,
            "against": against,
            "against_charts": [] if against is None else _against_charts(against),
            "ranking_charts": list(ranking_charts(facts)),
            "sampled": _sampled(facts),
            "run_charts": list(run_charts(story)),
            "price": _price_in_words(output),
            "costs": list(_costs(output, story, asked.planned)),
            "tries": [_shown_try(one) for one in story.tries[-MAX_TRIES:]],
            "tries_caption": _tries_caption(story),
            "settings": list(_settings(output, story)),
            "made_at": f"{asked.made_at:%Y-%m-%d %H:%M}",
        }
    )


def _lead(story: Story, facts: RankingFacts) -> str:
    if not facts.candidates:
        return "No candidate is ranked and written yet."
    text = f"{facts.candidates:,} candidates of {facts.queries:,} queries are ranked and written"
    if not story.tries:
        return f"{text}."
    return f"{text}, after {words.short_time(story.seconds)} of running."


def _notes(
    output: WrittenOutput,
    story: Story,
    facts: RankingFacts,
    asked: Request,
    examples: Examples,
) -> Iterator[str]:
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
    if not facts.queries and (asked.qrels_name is not None or asked.against is not None):
        yield "No query is written, so there is nothing to judge or to compare."
    if facts.candidates and not examples.have_texts:
        yield (
            "Documents are shown without their texts: give --input, or write them with"
            " rerank run --with-text."
        )


def _tiles(story: Story, facts: RankingFacts) -> Iterator[tuple[str, str, str]]:
    last = story.tries[-1].record if story.tries else None
    groups = None if last is None else last.groups
    of = "" if groups is None or groups == facts.queries else f"of {groups:,}"
    yield "queries", words.count(facts.queries), of
    lost = sum(facts.rejects.values())
    yield "candidates", words.count(facts.candidates), f"{lost:,} without a score" if lost else ""
    requests, reused = story.total("requests"), story.total("requests_reused")
    yield "requests paid", words.count(requests), f"{reused:,.0f} reused" if reused else ""
    yield "tokens", words.count(story.total("total_tokens")), ""
    perhaps = story.total("unanswered_usd")
    more = f"and perhaps {words.usd(perhaps)} more" if perhaps else ""
    yield "cost", words.usd(story.total("cost_usd")), more
    tries = f"in {len(story.tries):,} tries" if len(story.tries) > 1 else ""
    yield "time", words.short_time(story.seconds), tries
    rate = requests / story.seconds if story.seconds else 0.0
    yield "requests per second", f"{rate:,.1f}", ""
    throttled = story.total("throttled")
    yield "429s", words.count(throttled), ""


def _details(story: Story, facts: RankingFacts) -> Iterator[tuple[str, str]]:
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
    if facts.merge_status:
        proved = facts.proved[-1] / max(sum(facts.proved), 1)
        yield "queries with every place proved", words.percent(proved)


def _agreement(facts: RankingFacts) -> Iterator[tuple[str, str]]:
    if facts.by_query is None or not facts.by_query.height:
        return
    means = {name: facts.by_query[name].mean() for name in ("overlap@10", "RBO", "tau")}
    told = {
        "overlap@10": "first ten places shared with the first stage",
        "RBO": "rank-biased overlap (p = 0.9) with the first stage",
        "tau": "Kendall's tau with the first stage",
    }
    for name, mean in means.items():
        yield told[name], words.figure(mean if isinstance(mean, float) else None)


def _changed(facts: RankingFacts, examples: Examples) -> list[ShownQuery]:
    """Return the sampled queries that are least like the first stage."""
    assert facts.by_query is not None
    rows = facts.by_query.sort("RBO", "query_id").head(NUM_QUERIES).to_dicts()
    names = ("overlap@10", "RBO")
    return examples.show({str(row["query_id"]): {n: row[n] for n in names} for row in rows})


def _against_charts(against: Against) -> list[Any]:
    return [
        overlaps("First ten places shared with the other output", against.overlaps),
    ]


def _sampled(facts: RankingFacts) -> str:
    if not facts.is_sampled:
        return ""
    return (
        f"Movement, scores and agreement are taken from a sample: {facts.queries_sampled:,} of"
        f" {facts.queries:,} queries ({facts.candidates_sampled:,} of {facts.candidates:,}"
        " candidates), whole parts spread evenly over the output. All else counts everything."
    )


def _price(output: WrittenOutput) -> float:
    """Return the price of a token in US dollars; 0 if none is known."""
    settings = output.manifest.settings
    try:
        profile = find_provider(settings["provider"]).profile(settings["model"])
    except (RerankError, KeyError):
        return 0.0
    return profile.usd_per_token


def _price_in_words(output: WrittenOutput) -> str:
    price = _price(output)
    if not price:
        return "No price of the model is known."
    if output.manifest.settings.get("provider") == "emulator":
        return f"What the same tokens would cost at ${1e6 * price:g} a million; nothing was paid."
    return f"At ${1e6 * price:g} a million tokens."


def _costs(
    output: WrittenOutput, story: Story, planned: PlannedCost | None
) -> Iterator[tuple[str, str, str, str]]:
    def row(name: str, requests: float, tokens: float | None, usd: float | None) -> Any:
        shown = "–" if tokens is None else words.count(tokens)
        return name, words.count(requests), shown, "–" if usd is None else words.usd(usd)

    price = _price(output)
    if planned is not None:
        yield row(
            "planned for the whole input, first requests",
            planned.requests,
            planned.tokens,
            planned.cost_usd,
        )
    tokens = sum(part.total_tokens for part in output.parts)
    requests = sum(part.requests for part in output.parts)
    yield row("what the written rankings are made of", requests, tokens, tokens * price)
    paid = [story.total(name) for name in ("requests", "total_tokens", "cost_usd")]
    yield row("paid by all tries", *paid)
    if story.total("unanswered"):
        unanswered = story.total("unanswered"), None, story.total("unanswered_usd")
        yield row("perhaps paid: the answer was lost", *unanswered)
    yield row("reused from the score store", story.total("requests_reused"), None, None)
    limit = story.tries[-1].record.limits.get("max_cost_usd") if story.tries else None
    if limit is not None:
        yield "limit of the cost", "–", "–", words.usd(limit)


def _shown_try(one: Try) -> Mapping[str, Any]:
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


def _tries_caption(story: Story) -> str:
    count = len(story.tries)
    told = f"The last {MAX_TRIES} of {count:,} runs" if count > MAX_TRIES else "All runs"
    return f"{told} on this output, oldest first; each continues where the one before it ended."


def _settings(output: WrittenOutput, story: Story) -> Iterator[tuple[str, str]]:
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


def _change_class(change: Interval | None) -> str:
    """Return how a change is coloured: only if its interval does not hold 0."""
    if change is None or change.low <= 0 <= change.high:
        return ""
    return "good" if change.mean > 0 else "bad"
