"""The ranking is the same in whatever form the candidates come."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.real_runs import ROOT, SAMPLE, Service, ranked, rerank_here, results, rows_of, service

DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared data is not here")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Service]:
    with service() as running:
        yield running


def run(emulator: Service, given: Path, output: Path, *options: object) -> dict[str, Any]:
    """Run to exit 0; return the summary."""
    ended = rerank_here("run", given, output, *emulator.options, *options, "--json")
    assert ended.code == 0, ended.err
    return ended.facts


def nested(long: pl.DataFrame) -> pl.DataFrame:
    """Return a row per query, its candidates in a list of structs."""
    names = [name for name in long.columns if name not in ("query_id", "query")]
    return (
        long.group_by("query_id", maintain_order=True)
        .agg(pl.first("query"), pl.struct(names).alias("documents"))
        .select("query_id", "query", "documents")
    )


def order_of(output: Path) -> list[tuple[Any, ...]]:
    """Return what the rerank model's scores made of the candidates."""
    names = ("query_id", "doc_id", "rank", "relevance_score", "first_stage_rank")
    return [tuple(row[name] for name in names) for row in ranked(output)]


def test_nested_candidates_give_the_parts_of_long_ones(tmp_path: Path, emulator: Service) -> None:
    long = SAMPLE / "candidates.parquet"
    nested(pl.read_parquet(long)).write_parquet(tmp_path / "nested.parquet")

    run(emulator, long, tmp_path / "long")
    run(emulator, tmp_path / "nested.parquet", tmp_path / "nested", "--groups-per-part", "20")

    assert ranked(tmp_path / "nested") == ranked(tmp_path / "long")
    assert rows_of(tmp_path / "nested/_groups") == rows_of(tmp_path / "long/_groups")


@pytest.mark.parametrize("sizes", [[0, 5, 0, 0, 3, 0], [0, 0], [0] * 300 + [2, 700, 0]])
@pytest.mark.parametrize("per_part", [1, 2, 1000])
def test_queries_without_candidates_are_empty_groups(
    tmp_path: Path, emulator: Service, sizes: list[int], per_part: int
) -> None:
    if per_part < 3 and len(sizes) > 9:
        sizes = sizes[-9:]
    hit = pl.Struct({"doc_id": pl.String, "text": pl.String})
    rows = [
        {
            "query_id": at,
            "query": f"query {at}",
            "documents": [{"doc_id": f"{place}", "text": f"text {place}"} for place in range(size)]
            or (None if at % 2 else []),
        }
        for at, size in enumerate(sizes)
    ]
    schema = {"query_id": pl.Int64, "query": pl.String, "documents": pl.List(hit)}
    pl.DataFrame(rows, schema).write_parquet(tmp_path / "in.parquet")

    summary = run(
        emulator, tmp_path / "in.parquet", tmp_path / "out", "--groups-per-part", per_part
    )

    groups = rows_of(tmp_path / "out/_groups")
    assert [group["num_candidates"] for group in groups] == sizes
    assert [group["merge_status"] == "empty" for group in groups] == [size == 0 for size in sizes]
    assert len(ranked(tmp_path / "out")) == sum(sizes) == summary["candidates_done"]

    before = results(tmp_path / "out")
    (tmp_path / "out/part-00000.parquet").unlink()
    (tmp_path / "out/_SUCCESS").unlink()
    again = run(emulator, tmp_path / "in.parquet", tmp_path / "out", "--groups-per-part", per_part)
    assert (again["requests"], results(tmp_path / "out")) == (0, before)
