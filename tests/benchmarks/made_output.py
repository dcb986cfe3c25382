"""A finished output of any size, written as the job writes it, without a run."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output.manifest import check_or_create
from pipeline.output.part_info import METADATA_KEY, PartInfo
from pipeline.storage.location import locate

GROUPS_PER_PART = 1_000
ROW_GROUP_ROWS = 32_768

SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("doc_id", pa.string()),
        ("rank", pa.int32()),
        ("relevance_score", pa.float64()),
        ("first_stage_rank", pa.int32()),
        ("first_stage_score", pa.float64()),
    ]
)


def make_output(folder: Path, groups: int, documents: int) -> Path:
    """Write an output of so many groups of so many documents; return the folder."""
    output = locate(str(folder))
    facts = [{"path": "in.parquet", "size_bytes": 1, "num_rows": groups * documents}]
    manifest = check_or_create(output, {"top_n": None, "model": "none"}, facts)
    (folder / "_groups").mkdir()
    dice = np.random.default_rng(7)
    for index, first in enumerate(range(0, groups, GROUPS_PER_PART)):
        count = min(GROUPS_PER_PART, groups - first)
        name = f"part-{index:05d}.parquet"
        pq.write_table(_groups(range(first, first + count), documents), folder / "_groups" / name)
        info = PartInfo(
            index=index,
            fingerprint=manifest.fingerprint,
            first_group=first,
            num_groups=count,
            first_row=first * documents,
            num_rows=count * documents,
            num_candidates=count * documents,
            requests=count,
            total_tokens=200 * count * documents,
            merge_status={"single_request": count},
            groups_bytes=(folder / "_groups" / name).stat().st_size,
        )
        _write_part(folder / name, info, documents, dice)
    (folder / "_SUCCESS").write_bytes(b"")
    return folder


def _write_part(file: Path, info: PartInfo, documents: int, dice: np.random.Generator) -> None:
    at_once = max(1, ROW_GROUP_ROWS // documents)
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for start in range(info.first_group, info.stop_group, at_once):
            stop = min(start + at_once, info.stop_group)
            writer.write_table(_rows(range(start, stop), documents, dice))
        writer.add_key_value_metadata({METADATA_KEY.decode(): info.to_json().decode()})


def _groups(groups: range, documents: int) -> pa.Table:
    size = len(groups)
    counts = {
        "num_candidates": documents,
        "num_requests": 1,
        "certified_depth": documents,
        "num_rejected": 0,
        "num_skipped": 0,
        "num_truncated": 0,
    }
    columns = {name: pa.array([count] * size, pa.int32()) for name, count in counts.items()}
    return pa.table(
        {"query_id": [_query_id(number) for number in groups]}
        | columns
        | {
            "total_tokens": pa.array([200 * documents] * size, pa.int64()),
            "merge_status": ["single_request"] * size,
        }
    )


def _query_id(number: int) -> str:
    return f"query-{number:09d}"


def _rows(groups: range, documents: int, dice: np.random.Generator) -> pa.Table:
    place = np.tile(np.arange(documents), len(groups))
    order = np.argsort(dice.random((len(groups), documents))).ravel()
    scores = -np.sort(-dice.random((len(groups), documents))).ravel()
    queries = pa.array([_query_id(number) for number in groups])
    repeated = queries.take(pa.array(np.repeat(np.arange(len(groups)), documents)))
    names = pa.array(
        [f"document-{number:07d}" for number in dice.integers(0, 9_999_999, documents)]
    )
    ids = names.take(pa.array(order))
    columns = [repeated, ids, (place + 1).astype(np.int32), scores]
    columns += [(order + 1).astype(np.int32), 20 - order / documents]
    return pa.table(columns, schema=SCHEMA)
