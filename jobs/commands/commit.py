"""`rerank commit`: the end of an output that shards wrote."""

import click
from msgspec.structs import asdict

from jobs.console.printing import emit_facts, emit_json, json_option, num
from jobs.options.command import Command
from jobs.options.config_file import config_option
from jobs.options.types import COUNT, NOT_NEGATIVE
from jobs.process.event_loop import run_until_interrupted


@click.command(
    cls=Command,
    examples=(
        "rerank run candidates/ reranked/ --shard 1/4",
        "rerank commit reranked/",
    ),
)
@click.argument("output")
@click.option(
    "--max-rejects",
    type=COUNT,
    metavar="N",
    default=0,
    show_default=True,
    help="Number of rejected candidates up to which the output is finished.",
)
@click.option(
    "--lock-wait",
    type=NOT_NEGATIVE,
    metavar="SECONDS",
    default=0.0,
    show_default=True,
    help="Seconds to wait for shards that still run.",
)
@json_option
@config_option
def commit(output: str, max_rejects: int, lock_wait: float, as_json: bool) -> None:
    """Check that all parts of all shards are in OUTPUT, and write _SUCCESS.

    Sends nothing. If parts are missing it names their shards (exit 3); if a shard still runs it
    does not wait for it unless told to (exit 6).
    """
    from pipeline.dataset.commit_shards import commit_output

    done = run_until_interrupted(
        lambda: commit_output(output, max_rejects=max_rejects, lock_wait_s=lock_wait)
    )
    if as_json:
        emit_json(asdict(done))
        return
    emit_facts(
        [
            ("committed", f"{num(done.groups, 'query', 'queries')}, {num(done.parts, 'part')}"),
            ("candidates", f"{done.candidates:,}"),
            ("without score", f"{done.rejected:,} rejected, {done.skipped:,} skipped"),
        ]
    )
