"""Several outputs as one result: partitions with other columns, other types, other values."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.made_outputs import write_candidates, write_output
from support.real_runs import rerank_here


def partitions(folder: Path, columns: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a root with a partition of one query for each folder name."""
    for name, more in columns.items():
        candidates = write_candidates({"q": ["a"]}, folder / "in" / name / "a.parquet", **more)
        write_output(candidates, folder / "out" / name)
    return folder / "out"


def exported(root: Path) -> list[dict[str, Any]]:
    dest = root.parent / "r.jsonl"
    ended = rerank_here("export", root, dest)
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in dest.read_text().splitlines()]


def test_a_column_that_only_some_partitions_have_is_null_in_the_others(tmp_path: Path) -> None:
    root = partitions(tmp_path, {"dt=1": {"new": pa.array([7])}, "dt=2": {}})

    documents = exported(root)

    assert [document["results"][0]["new"] for document in documents] == [7, None]


def test_types_that_differ_become_the_one_that_holds_both(tmp_path: Path) -> None:
    narrow, wide = pa.array([7], pa.int8()), pa.array([2**40])
    root = partitions(tmp_path, {"dt=1": {"n": narrow}, "dt=2": {"n": wide}})

    assert [document["results"][0]["n"] for document in exported(root)] == [7, 2**40]


def test_types_that_nothing_holds_are_refused_by_name(tmp_path: Path) -> None:
    root = partitions(tmp_path, {"dt=1": {"n": pa.array([7])}, "dt=2": {"n": pa.array(["seven"])}})

    ended = rerank_here("export", root, tmp_path / "r.jsonl")

    assert ended.code == 3
    assert "out/dt=2: no type holds its column n" in ended.failure


def test_a_column_of_the_keys_name_is_called_input_key(tmp_path: Path) -> None:
    root = partitions(tmp_path, {"dt=2026-11-01": {"dt": pa.array(["mine"])}})

    (document,) = exported(root)

    assert document["dt"] == "2026-11-01"
    assert document["results"][0]["input_dt"] == "mine"


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (["dt=10", "dt=9"], [9, 10]),
        (["dt=20261102", "dt=20261101"], [20261101, 20261102]),
        (["dt=2026-11-02", "dt=2026-11-01"], ["2026-11-01", "2026-11-02"]),
        (["dt=10", "dt=09"], ["09", "10"]),
        (["dt=a%2Fb", "dt=a"], ["a", "a/b"]),
    ],
)
def test_partitions_come_in_the_order_of_their_values(
    names: list[str], values: list[Any], tmp_path: Path
) -> None:
    root = partitions(tmp_path, {name: {} for name in names})

    assert [document["dt"] for document in exported(root)] == values
