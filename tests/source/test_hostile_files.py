"""Every awkward file of the shared set: the right groups, or one line that says what to do."""

from itertools import groupby

import pyarrow.parquet as pq
import pytest
from support.tables import HOSTILE, groups_of, read_groups

from pipeline.core.errors import InputError
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import list_input
from pipeline.source.source import Source

pytestmark = pytest.mark.skipif(not HOSTILE.exists(), reason="the shared data is not here")

GROUPS = {
    "01_weird_text.parquet": 10,
    "01b_weird_text_short.parquet": 10,
    "02_duplicate_doc_ids.parquet": 2,
    "03_duplicate_texts.parquet": 2,
    "06_long_query.parquet": 5,
    "07_int64_ids.parquet": 5,
    "07b_int32_uint64_ids.parquet": 5,
    "07c_negative_int64_ids.parquet": 5,
    "07e_numeric_looking_strings.parquet": 2,
    "07f_odd_string_ids.parquet": 1,
    "09_dictionary.parquet": 10,
    "09b_plain_no_dictionary.parquet": 10,
    "10_large_string.parquet": 10,
    "10b_string_view.parquet": 10,
    "10c_binary_text.parquet": 10,
    "11_zero_rows.parquet": 0,
    "11b_zero_rows_in_row_groups.parquet": 1,
    "11c_no_row_groups.parquet": 0,
    "12_split_row_groups.parquet": 20,
    "12b_one_row_per_row_group.parquet": 3,
    "13d_rank_order_reversed.parquet": 5,
    "14_parts": 20,
    "14b_hive": 3,
    "14c_mixed_schema/part-0.parquet": 1,
    "14c_mixed_schema/part-1.parquet": 5,
    "16_singletons.parquet": 300,
    "17b_passthrough_and_collisions.parquet": 2,
    "18_codec_brotli.parquet": 5,
    "18_codec_gzip.parquet": 5,
    "18_codec_lz4.parquet": 5,
    "18_codec_none.parquet": 5,
    "18_codec_snappy.parquet": 5,
    "18_codec_zstd.parquet": 5,
    "18b_data_page_v2.parquet": 5,
    "18c_version_1_0.parquet": 5,
    "21_many_tiny_groups.parquet": 20_000,
    "22_token_budget.parquet": 2,
}

REFUSALS = {
    "04_null_query.parquet": "under one query_id (found row 55, query_id 'nq-conflict')",
    "05_null_text_and_ids.parquet": "null query_id (found row 25",
    "07d_float64_ids.parquet": "cast it to int64 or string",
    "08c_nested_nulls.parquet": "null doc_id (found row 3, query_id",
    "08e_nested_parallel_lists.parquet": "missing columns ['doc_id', 'text']",
    "10d_invalid_utf8_binary.parquet": "column 'text' is not UTF-8 (found row 3, query_id '1')",
    "10e_invalid_utf8_string.parquet": "column 'text' is not UTF-8 (found row 3, query_id '1')",
    "11d_zero_bytes.parquet": "found 0 bytes that do not end with PAR1",
    "13_unclustered_shuffled.parquet": "not adjacent (found query_id '75'",
    "13b_interleaved.parquet": "not adjacent (found query_id '1'",
    "13c_group_returns.parquet": "not adjacent (found query_id '1'",
    "14c_mixed_schema": "another type than in part-0.parquet (found int64, expected string)",
    "17_other_column_names.parquet": "missing columns ['query_id', 'query', 'doc_id', 'text']",
    "17c_missing_text_column.parquet": "missing columns ['text']",
    "17d_duplicate_column_name.parquet": "more than one column is called 'text'",
    "17e_wrong_types.parquet": "column 'query' has a wrong type (found int64",
    "19_truncated.parquet": "not a Parquet file, or a damaged one",
    "19b_flipped_bytes.parquet": "not a Parquet file, or a damaged one",
    "19c_not_parquet.parquet": "not a Parquet file (found 35 bytes of text)",
}

NESTED = {
    "08_nested.parquet": "08b_nested_first_stage.parquet",
    "08d_nested_large_list.parquet": "08e_nested_parallel_lists.parquet",
}
"""Pairs of files with the same candidates."""


def open_hostile(name: str, **how) -> Source:
    return Source(list_input(str(HOSTILE / name)), **how)


@pytest.mark.parametrize("name", GROUPS)
def test_an_awkward_file_gives_every_row_once_in_order(name):
    source = open_hostile(name, limits=BatchLimits(max_rows=64))
    columns = ["query_id", "doc_id", "text", "query"]
    rows = [
        row
        for file in source.listing.files
        for row in pq.ParquetFile(file.location.path).read(columns).to_pylist()
    ]
    expected = [
        (query_id, [(row["doc_id"], _text(row["text"])) for row in group])
        for query_id, group in groupby(rows, key=lambda row: row["query_id"])
    ]

    groups = read_groups(source)

    found = [
        (
            group.query_id,
            list(
                zip(
                    group.output.candidates["doc_id"].to_pylist(),
                    group.texts.to_pylist(),
                    strict=True,
                )
            ),
        )
        for group in groups
    ]
    assert found == expected
    assert source.count_groups() == len(groups) == GROUPS[name]


@pytest.mark.parametrize("name", REFUSALS)
def test_an_unfit_file_is_refused_in_one_line_that_says_why(name):
    with pytest.raises(InputError) as refusal:
        read_groups(open_hostile(name))

    assert REFUSALS[name] in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 3
    assert name in str(refusal.value)


def test_nested_files_hold_the_candidates_of_their_rows():
    for one, other in NESTED.items():
        columns = {"doc_id": "doc_ids", "text": "texts"} if "parallel" in other else {}
        groups = read_groups(open_hostile(one))
        expected = [
            (row["query_id"], [(hit["doc_id"], hit["text"]) for hit in row["candidates"]])
            for row in pq.read_table(HOSTILE / one).to_pylist()
        ]

        for found in (groups, read_groups(open_hostile(other, columns=columns))):
            assert [
                (
                    group.query_id,
                    list(
                        zip(
                            group.output.candidates["doc_id"].to_pylist(),
                            group.texts.to_pylist(),
                            strict=True,
                        )
                    ),
                )
                for group in found
            ] == expected


def test_every_hostile_file_is_in_this_test():
    names = {path.name for path in HOSTILE.iterdir() if path.suffix not in {".md", ".json"}}

    assert names == {name.split("/")[0] for name in [*GROUPS, *REFUSALS, *NESTED, *NESTED.values()]}


def test_null_queries_are_kept_for_the_groups_before_a_conflict():
    batches = open_hostile("04_null_query.parquet", limits=BatchLimits(max_rows=10)).iter_batches()

    groups = groups_of(next(batches) for _ in range(5))

    assert [group.query and group.query[:5] for group in groups] == [
        None, "", " \t\n", "0-dim", "1,000",
    ]  # fmt: skip


def test_other_column_names_are_read_where_options_name_them():
    columns = {
        "query_id": "qid", "query": "query_text", "doc_id": "pid", "text": "passage",
        "first_stage_rank": "rank", "first_stage_score": "bm25",
    }  # fmt: skip
    source = open_hostile("17_other_column_names.parquet", columns=columns)

    assert len(read_groups(source)) == 2
    assert source.output_schema.names[4:] == ["first_stage_rank", "first_stage_score"]


def test_passed_through_columns_keep_their_values():
    source = open_hostile("17b_passthrough_and_collisions.parquet")
    rows = pq.read_table(HOSTILE / "17b_passthrough_and_collisions.parquet")

    for group in read_groups(source):
        expected = rows.slice(group.output.first_row, group.num_candidates)
        for name in group.output.candidates.column_names[2:]:
            column = expected["rank" if name == "input_rank" else name]
            assert group.output.candidates[name].to_pylist() == column.to_pylist(), name
            assert group.output.candidates[name].type == column.type, name


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
