"""A table comes back as one of its own kind, with its rows in their new order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import pipeline
from pipeline.api.emulator_process import emulator_process
from pipeline.core.providers import EMULATOR_PATH

CANDIDATES = {
    "query_id": [7, 3, 7, 3, 7],
    "query": ["cold battery", "opening hours", "cold battery", "opening hours", "cold battery"],
    "doc_id": ["a", "b", "c", "d", "e"],
    "text": [
        "the post office",
        "a battery in the cold",
        "a cold battery lasts half as long",
        "opening hours of the post office",
        None,
    ],
    "extra": [1.5, 2.5, 3.5, 4.5, 5.5],
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with emulator_process() as address:
        yield address + EMULATOR_PATH


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def rerank(table: Any, url: str, **options: Any) -> Any:
    return pipeline.rerank_table(table, provider="emulator", url=url, **options)


def test_a_polars_frame_comes_back_by_query_and_rank(url: str) -> None:
    ranked = rerank(pl.DataFrame(CANDIDATES), url)

    assert isinstance(ranked, pl.DataFrame)
    assert ranked["doc_id"].to_list() == ["c", "a", "e", "d", "b"]
    assert ranked["query_id"].to_list() == [7, 7, 7, 3, 3]
    assert ranked["rank"].to_list() == [1, 2, 3, 1, 2]
    assert ranked["relevance_score"].null_count() == 1
    assert ranked["merge_status"].unique().to_list() == ["single_request"]
    assert ranked["extra"].to_list() == [3.5, 1.5, 5.5, 4.5, 2.5]
    assert ranked.columns[:5] == list(CANDIDATES)


def test_an_arrow_table_keeps_its_types(url: str) -> None:
    table = pa.table(CANDIDATES).cast(
        pa.schema(
            {
                "query_id": pa.int16(),
                "query": pa.dictionary(pa.int8(), pa.string()),
                "doc_id": pa.large_string(),
                "text": pa.string(),
                "extra": pa.float32(),
            }
        )
    )

    ranked = rerank(table, url, top_n=1)

    assert ranked.schema.types[:5] == table.schema.types
    assert ranked["doc_id"].to_pylist() == ["c", "d"]


def test_an_arrow_table_of_views_keeps_its_types(url: str) -> None:
    views = {"query_id": pa.int64(), "extra": pa.list_(pa.string_view())}
    schema = pa.schema([(name, views.get(name, pa.string_view())) for name in CANDIDATES])
    table = pa.table({**CANDIDATES, "extra": [["1"], ["2"], ["3"], None, []]}, schema=schema)

    ranked = rerank(table, url)

    assert ranked.schema.types[:5] == schema.types
    assert ranked["doc_id"].to_pylist() == ["c", "a", "e", "d", "b"]
    assert ranked["extra"].to_pylist() == [["3"], ["1"], [], None, ["2"]]


def test_a_stream_that_can_be_read_once_comes_back_as_a_table(url: str) -> None:
    ranked = rerank(pa.table(CANDIDATES).to_reader(), url)

    assert ranked["doc_id"].to_pylist() == ["c", "a", "e", "d", "b"]


def test_ids_of_categories_and_columns_without_a_type_in_arrow_are_ranked_too(url: str) -> None:
    frame = pl.DataFrame(CANDIDATES).with_columns(
        pl.col("query_id").cast(pl.String).cast(pl.Categorical),
        extra=pl.Series([1, 2, 3, 4, 5], dtype=pl.Int128),
    )

    ranked = rerank(frame, url)

    assert ranked.schema["query_id"] == pl.Categorical
    assert ranked["doc_id"].to_list() == ["c", "a", "e", "d", "b"]
    assert ranked["extra"].to_list() == [3, 1, 5, 4, 2]


def test_a_dictionary_that_names_a_query_twice_is_one_query(url: str) -> None:
    ids = pa.DictionaryArray.from_arrays([0, 1, 2, 1, 0], ["7", "3", "7"])

    ranked = rerank(pa.table({**CANDIDATES, "query_id": ids}), url)

    assert ranked["doc_id"].to_pylist() == ["c", "a", "e", "d", "b"]


def test_a_column_whose_rows_cannot_be_moved_is_told_before_anything_is_paid(
    url: str, tmp_path: Path
) -> None:
    runs = pa.RunEndEncodedArray.from_arrays([2, 5], ["a", "b"])

    with pytest.raises(pipeline.SettingsError, match="extra: rows of this type"):
        rerank(pa.table({**CANDIDATES, "extra": runs}), url)

    assert not list(tmp_path.iterdir())


def test_another_instruction_is_another_call_on_the_same_frame(url: str) -> None:
    frame = pl.DataFrame(CANDIDATES)

    one = rerank(frame, url, instruct="Find what answers the question.")
    other = rerank(frame, url, instruct="Find what contradicts the question.")

    both = one.join(other, on=["query_id", "doc_id"], suffix="_other")
    assert both.height == frame.height


def test_paid_answers_are_kept_in_the_cache(url: str, tmp_path: Path) -> None:
    rerank(pl.DataFrame(CANDIDATES), url)

    assert any((tmp_path / "rerank-pipeline" / "scores").iterdir())


def test_columns_of_other_names_are_named(url: str) -> None:
    frame = pl.DataFrame(CANDIDATES).rename({"text": "passage", "query_id": "question"})

    ranked = rerank(frame, url, columns={"text": "passage", "query_id": "question"})

    assert ranked["doc_id"].to_list() == ["c", "a", "e", "d", "b"]


def test_an_empty_table_comes_back_empty(url: str) -> None:
    ranked = rerank(pl.DataFrame(CANDIDATES).clear(), url)

    assert ranked.height == 0
    assert ranked.columns[-3:] == ["rank", "relevance_score", "merge_status"]


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ([1, 2], {}, "candidates: not a table"),
        (pl.DataFrame(CANDIDATES), {"with_text": True}, "with_text: has no meaning for a table"),
        (pl.DataFrame(CANDIDATES).with_columns(rank=1), {}, "rank: the candidates have a column"),
        (
            pa.Table.from_arrays([pa.array(["a"])] * 2, names=["query_id", "query_id"]),
            {},
            "query_id: more than one column",
        ),
        (pl.DataFrame(CANDIDATES).drop("query_id"), {}, "query_id: the candidates have no such"),
    ],
)
def test_what_cannot_be_reranked_is_told(table, options, message, url: str) -> None:
    with pytest.raises(pipeline.SettingsError, match=message):
        rerank(table, url, **options)


def test_a_pandas_frame_keeps_its_index(url: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(CANDIDATES, index=list("vwxyz"))

    ranked = rerank(frame, url)

    assert ranked.index.tolist() == ["x", "v", "z", "y", "w"]
    assert ranked["rank"].tolist() == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("name", ["query_id", "query", "doc_id", "text"])
@pytest.mark.parametrize("odd", [2.5, {"a": 1}, object(), 2**70])
def test_a_pandas_column_of_several_types_is_refused_without_its_values(
    name: str, odd: object, url: str
) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(CANDIDATES | {name: [odd, "secret", "b", "b", "b"]})

    with pytest.raises(
        pipeline.InputError, match=f"column '{name}' holds values of several types"
    ) as told:
        rerank(frame, url)

    assert "secret" not in str(told.value)


def test_query_ids_of_a_nested_type_are_refused_by_type(url: str) -> None:
    table = pa.table(CANDIDATES | {"query_id": [["a"]] * 5})

    with pytest.raises(pipeline.InputError, match="column 'query_id' has a wrong type") as told:
        rerank(table, url)

    assert "found list<item: string>" in str(told.value)


@pytest.mark.parametrize(
    "candidates", [pl.Series([1]), pa.chunked_array([[1]]), pl.LazyFrame(CANDIDATES), CANDIDATES]
)
def test_what_is_no_table_is_refused_by_its_type(candidates: object, url: str) -> None:
    with pytest.raises(pipeline.SettingsError, match="not a table") as told:
        rerank(candidates, url)

    assert type(candidates).__name__ in str(told.value)
