"""`rerank evaluate`: measures of an output against judgements, before and after reranking."""

import click

from jobs.console.printing import emit_json, num
from jobs.options.command import Command
from jobs.options.evaluation_options import QRELS_HELP, evaluation_options, judged_measures


@click.command(
    cls=Command,
    examples=(
        "rerank evaluate out/sample --qrels sample_data/qrels.parquet",
        'rerank evaluate reranked/ --qrels test.tsv --measure "AP(rel=2)" --all --json',
        "rerank evaluate reranked/ --qrels q.txt.gz --fail-if-worse --fail-under R@100=0",
    ),
)
@click.argument("output")
@click.option("--qrels", required=True, metavar="FILE", help=QRELS_HELP)
@click.option(
    "--input",
    "input_name",
    metavar="INPUT",
    help="Input of OUTPUT, for the order before where --top-n cut OUTPUT. "
    "[default: where the last run found it]",
)
@evaluation_options
def evaluate(
    output: str,
    qrels: str,
    input_name: str | None,
    measures: tuple[str, ...],
    per_query: str | None,
    show_all: bool,
    fail_under: tuple[str, ...],
    fail_if_worse: bool,
    as_json: bool,
) -> None:
    """Measure OUTPUT against judgements, before reranking and after.

    Judgements have the columns query_id, doc_id and relevance, or BEIR's query-id, corpus-id and
    score, or are TREC lines: query_id iteration doc_id relevance.
    """
    parsed, gate = judged_measures(measures, fail_under, fail_if_worse=fail_if_worse)
    from jobs.console.evaluation_report import judged_facts, show_judged
    from pipeline.evaluation.evaluate import evaluate_output
    from pipeline.evaluation.gate import missed, raise_missed, refuse_unfinished, refuse_unknown
    from pipeline.evaluation.per_query import locate_per_query, write_per_query
    from pipeline.output.reader import open_output

    read = [output, qrels, *([input_name] if input_name else [])]
    file = locate_per_query(per_query, apart_from=read) if per_query is not None else None
    found = open_output(output)
    refuse_unfinished(gate, found)
    result = evaluate_output(found, qrels, parsed, input_name=input_name)
    refuse_unknown(gate, output, result.no_before)
    if file is not None:
        write_per_query(file, result.by_query)
    misses = missed(gate, result.measures)
    if as_json:
        facts = {
            "queries": result.queries,
            "queries_missing": result.queries_missing,
            "finished": result.is_finished,
            "before_from": result.before_from,
        }
        emit_json(facts | judged_facts(result, show_all=show_all) | gate.facts(misses))
    else:
        title = num(result.queries, "judged query", "judged queries")
        show_judged(title, result, ("before", "after"), show_all=show_all)
    raise_missed(misses)
