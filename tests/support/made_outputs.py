"""Outputs of runs that were never made: rankings of our own, written as the job writes them."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from support.tables import open_source, rank_by, read_groups, write

from pipeline.output.manifest import check_or_create
from pipeline.output.run_records import recorded_run
from pipeline.output.sink import Sink
from pipeline.storage.location import Location, locate

Scores = Mapping[Any, Sequence[float | None]]
"""By query_id, the scores of its candidates in their order."""


def write_candidates(rankings: Mapping[Any, Sequence[Any]], path: Path, **columns: Any) -> Path:
    """Write an input: for each query_id its doc_ids, best first; keywords add columns."""
    rows = [(query_id, doc_id) for query_id, docs in rankings.items() for doc_id in docs]
    table = {
        "query_id": pa.array([query_id for query_id, _ in rows]),
        "query": [f"query {query_id}" for query_id, _ in rows],
        "doc_id": pa.array([doc_id for _, doc_id in rows]),
        "text": [f"text {doc_id}" for _, doc_id in rows],
    }
    return write(pa.table(table | columns), path)


def write_output(
    candidates: Path,
    folder: Path,
    scores: Scores | None = None,
    *,
    top_n: int | None = None,
    groups_per_part: int = 2,
    parts: int | None = None,
    **settings: Any,
) -> Path:
    """Rank candidates by given scores, or leave them in their order, and write an output.

    Args:
        candidates: The input.
        folder: Where to write.
        scores: Queries that are not in it keep the order of the first stage.
        top_n: As the option.
        groups_per_part: Queries in one part.
        parts: Write these first parts alone, and no `_SUCCESS`.
        settings: Settings of the manifest that are not the defaults.
    """
    chosen: dict[str, Any] = {"columns": {}, "layout": "auto", "duplicates": "keep"}
    chosen |= {"top_n": top_n, **settings}
    reading = {name: chosen[name] for name in ("columns", "layout", "duplicates")}
    source = open_source(candidates, **reading)
    output = locate(str(folder))
    manifest = check_or_create(output, chosen, source.listing.facts())
    asyncio.run(_record(output, str(candidates)))
    sink = Sink(output, source.output_schema, fingerprint=manifest.fingerprint, top_n=top_n)
    rankings = [
        rank_by(group, (scores or {}).get(group.query_id) or _falling(group.num_candidates))
        for group in read_groups(source)
    ]
    starts = range(0, len(rankings), groups_per_part)[:parts]
    for index, start in enumerate(starts):
        sink.write_part(index, rankings[start : start + groups_per_part])
    if parts is None:
        sink.finish(len(starts))
    return folder


async def _record(output: Location, input_name: str) -> None:
    async with recorded_run(
        output,
        input_name=input_name,
        model="none",
        snapshot=dict,
        on_end=lambda state: None,
        is_partial=lambda: False,
    ):
        pass


def _falling(num_candidates: int) -> list[float]:
    return [1 / place for place in range(1, num_candidates + 1)]
