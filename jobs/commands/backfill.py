"""`rerank backfill`: a run for every partition in a range, in one session."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from jobs.commands.run import locate_metrics, prepared_settings, run, run_to_end
from jobs.console.log_options import set_up_log
from jobs.console.printing import (
    emit,
    emit_json,
    emit_table,
    not_printed_is_no_failure,
    num,
    usd,
)
from jobs.options.command import Command
from jobs.options.settings import make_settings, read_api_key
from jobs.process.telemetry import telemetry_of_environment
from pipeline.core.errors import SettingsError
from pipeline.core.settings import RunSettings

if TYPE_CHECKING:
    from pipeline.dataset.backfill_result import PartitionResult
    from pipeline.dataset.plan_backfill import PartitionPlan
    from pipeline.dataset.summary import RunSummary
    from pipeline.storage.location import Location
    from pipeline.storage.partitions import Partition

NO_ADDRESS: Final = "http://plan.invalid"
"""The address of a provider that has none of its own, for a dry run, which sends nothing."""

_OWN: Final = ("--score-store", "--restart", "--shard", "--dask")


@click.command(
    cls=Command,
    in_sections=True,
    examples=(
        "rerank backfill candidates/ reranked/ --from 2026-11-01 --to 2026-11-30",
        "rerank backfill s3://b/in s3://b/out --from 2026-01-01 --to 2026-11-30 --dry-run",
    ),
)
@click.argument("input_root")
@click.argument("output_root")
@click.option("--from", "first", required=True, metavar="VALUE", help="First partition.")
@click.option("--to", "last", required=True, metavar="VALUE", help="Last partition, included.")
@click.option(
    "--partition-key",
    default="dt",
    show_default=True,
    help="Key of the partitions: folders KEY=VALUE/ of INPUT_ROOT.",
)
@click.option(
    "--order",
    type=click.Choice(["oldest", "newest"]),
    default="oldest",
    show_default=True,
    help="Which partition comes first.",
)
@click.option("--dry-run", is_flag=True, help="Only show what each partition would take.")
@click.option(
    "--score-store", help="Folder or URI of the score store. [default: OUTPUT_ROOT/_scores]"
)
@click.option(
    "--restart",
    is_flag=True,
    help="Begin anew the partitions whose settings or input have changed.",
)
def backfill(
    input_root: str,
    output_root: str,
    first: str,
    last: str,
    partition_key: str,
    order: str,
    dry_run: bool,
    progress: bool,
    metrics_file: str | None,
    as_json: bool,
    restart: bool,
    **options: Any,
) -> None:
    """Rerank every partition KEY=VALUE/ of INPUT_ROOT from one value to another.

    Each becomes an ordinary output OUTPUT_ROOT/KEY=VALUE/. All share one quota, one budget and one
    score store. Values are dates, integers or strings. The same command continues an interrupted
    backfill; finished partitions send nothing.
    """
    shown = set_up_log(options)
    from pipeline.dataset.partition_range import PartitionRange
    from pipeline.output.validation import locate_output
    from pipeline.storage.location import locate

    value_range = PartitionRange(partition_key, first, last)
    api_key = None if dry_run else read_api_key(options)
    partitions = value_range.select(locate(input_root), "newest" if order == "newest" else "oldest")
    if not output_root:
        raise SettingsError("no folder is named", which="OUTPUT_ROOT")
    root = locate_output("OUTPUT_ROOT", output_root)
    from pipeline.dataset.backfill import (
        Backfill,
        backfill_settings,
        refuse_input_as_root,
        spent_usd,
    )

    refuse_input_as_root(locate(input_root), root)
    if dry_run:
        _show_plan(partitions, root, make_settings(options, url=NO_ADDRESS), as_json=as_json)
        return
    with prepared_settings(options) as settings, telemetry_of_environment() as telemetry:
        from pipeline.dataset.session import Session

        metrics = locate_metrics(metrics_file, settings, output_root)
        session = Session(
            backfill_settings(settings, root),
            api_key,
            earlier_usd=spent_usd(root),
            telemetry=telemetry,
        )
        job = Backfill(session, partitions, root, restart=restart)
        try:
            run_to_end(
                session,
                job,
                shown,
                progress=progress,
                partitions=job.partitions_done,
                metrics=metrics,
            )
        finally:
            with not_printed_is_no_failure():
                if job.has_begun and (as_json or not shown.quiet):
                    _show(job.results(), job.snapshot(), as_json=as_json)


# Options that `run` gets later are the backfill's too; copies, since each has its own variable.
backfill.params += [
    copy.copy(option)
    for option in run.params
    if isinstance(option, click.Option) and not set(option.opts) & set(_OWN)
]


def _show(results: "Sequence[PartitionResult]", summary: "RunSummary", *, as_json: bool) -> None:
    if as_json:
        partitions = [result.as_json() for result in results]
        emit_json(summary.as_json() | {"partitions": partitions})
        return
    rows = [result.as_json() for result in results]
    emit_table(
        ("partition", "state", "queries", "candidates", "requests", "reused", "cost"),
        [
            (
                row["partition"],
                row["state"],
                f"{row['groups']:,}",
                f"{row['candidates']:,}",
                f"{row['requests']:,}",
                f"{row['requests_reused']:,}",
                usd(row["cost_usd"]),
            )
            for row in [*rows, _sums(rows)]
        ],
    )
    for row in rows:
        if row["error"]:
            emit(f"{row['partition']}: {row['error']}")


def _sums(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("groups", "candidates", "requests", "requests_reused", "cost_usd")
    done = sum(row["state"] == "done" for row in rows)
    sums: dict[str, Any] = {name: sum(row[name] for row in rows) for name in names}
    return sums | {"partition": "all", "state": f"{done} of {len(rows)} done"}


def _show_plan(
    partitions: "Sequence[Partition]",
    root: "Location",
    settings: RunSettings,
    *,
    as_json: bool,
) -> None:
    from pipeline.dataset.plan_backfill import plan_partition

    plans = [plan_partition(partition, root, settings) for partition in partitions]
    sums = _planned_sums(plans)
    if as_json:
        emit_json({**sums, "partitions": [plan.as_json() for plan in plans]})
        return
    emit_table(
        ("partition", "state", "queries", "candidates", "requests", "tokens", "cost"),
        [
            (
                name,
                state,
                f"{facts['groups']:,}",
                f"{facts['candidates']:,}",
                f"{facts['requests']:,}",
                f"{facts['tokens']:,}",
                usd(facts["cost_usd"]),
            )
            for name, state, facts in [
                *((plan.name, plan.state, plan.as_json()) for plan in plans),
                ("all", num(len(plans), "partition"), sums),
            ]
        ],
    )
    minutes = sums["minutes"]
    emit(f"takes {minutes:,.1f} minutes at the quota" if minutes is not None else "has no quota")
    for plan in plans:
        if plan.error:
            emit(f"{plan.name}: {plan.error}")


def _planned_sums(plans: "Sequence[PartitionPlan]") -> dict[str, Any]:
    facts = [plan.as_json() for plan in plans]
    names = ("groups", "candidates", "requests", "requests_max", "tokens", "cost_usd")
    sums: dict[str, Any] = {name: sum(one[name] for one in facts) for name in names}
    minutes = [one["minutes"] for one in facts]
    return sums | {"minutes": None if None in minutes else sum(minutes)}
