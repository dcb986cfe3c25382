"""The report of an output: everything that its page shows, gathered and rendered.

It works for an output in any state: the page says what is missing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from pipeline.output.reader import WrittenOutput
from pipeline.report import overview, words
from pipeline.report.against import Against, compare
from pipeline.report.costs import PlannedCost, cost_rows, price_in_words
from pipeline.report.examples import NUM_QUERIES, Examples, ShownQuery
from pipeline.report.judged import Interval, judge
from pipeline.report.page import render
from pipeline.report.ranking_charts import judged_charts, overlaps, ranking_charts
from pipeline.report.ranking_facts import MAX_ROWS, RankingFacts, read_ranking_facts
from pipeline.report.run_charts import run_charts
from pipeline.report.run_tables import tries_caption, try_rows, used_settings
from pipeline.report.tries import read_story

if TYPE_CHECKING:
    from ir_measures import Measure


class Request(Struct, frozen=True, kw_only=True):
    """The contents that a report is asked for.

    Attributes:
        qrels_name: Judgements; None for none.
        measures: Each measure once; the first one sorts the queries.
        against: Another output of the same queries; None for none.
        input_name: The input, for texts and the order before where `--top-n` cut the output.
        planned: The numbers of the input's plan; None if they are not known.
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
        "page.html.j2",
        {
            "output": output.location.name,
            "story": story,
            "state": words.STATES[story.state],
            "lead": overview.lead(facts.candidates, facts.queries, story.seconds),
            "notes": list(
                overview.notes(
                    output,
                    story,
                    facts,
                    judges=asked.qrels_name is not None or asked.against is not None,
                    have_texts=examples.have_texts,
                )
            ),
            "tiles": list(overview.tiles(story, facts)),
            "details": list(overview.details(story, facts)),
            "judged": judged,
            "change_class": _change_class,
            "judged_charts": [] if judged is None else list(judged_charts(judged)),
            "agreement": list(overview.agreement(facts)),
            "changed": changed,
            "against": against,
            "against_charts": [] if against is None else _against_charts(against),
            "ranking_charts": list(ranking_charts(facts)),
            "sampled": overview.sampled(facts),
            "run_charts": list(run_charts(story)),
            "price": price_in_words(output),
            "costs": list(cost_rows(output, story, asked.planned)),
            "tries": try_rows(story),
            "tries_caption": tries_caption(story),
            "settings": list(used_settings(output, story)),
            "made_at": f"{asked.made_at:%Y-%m-%d %H:%M}",
        },
    )


def _changed(facts: RankingFacts, examples: Examples) -> list[ShownQuery]:
    """Return the sampled queries that agree least with the first stage."""
    assert facts.by_query is not None
    rows = facts.by_query.sort("RBO", "query_id").head(NUM_QUERIES).to_dicts()
    names = ("overlap@10", "RBO")
    return examples.show({str(row["query_id"]): {n: row[n] for n in names} for row in rows})


def _against_charts(against: Against) -> list[Any]:
    return [
        overlaps("First ten places shared with the other output", against.overlaps),
    ]


def _change_class(change: Interval | None) -> str:
    """Return how a change is coloured: only if its interval does not hold 0."""
    if change is None or change.low <= 0 <= change.high:
        return ""
    return "good" if change.mean > 0 else "bad"
