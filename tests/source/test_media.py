"""Columns of images and videos: what they may hold is checked before anything is sent."""

from base64 import b64encode
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.pictures import candidates, png, table
from support.tables import write

from pipeline.core.content import Image, Video
from pipeline.core.errors import InputError, SettingsError
from pipeline.core.groups import Group
from pipeline.core.media_types import media_type_of
from pipeline.source.batch_reader import BatchLimits
from pipeline.source.listing import list_input
from pipeline.source.source import Source

URL = "https://pictures.example/tent.png?Signature=secret"
GIF = b"GIF89a" + bytes(20)
NOTHING: Any = None


def source(given: Path, **options: Any) -> Source:
    return Source(list_input(str(given)), **{"media": True, **options})


def groups(given: Path, **options: Any) -> list[Group]:
    batches = list(source(given, **options).iter_batches())
    return [group for batch in batches for group in batch.iter_groups(NOTHING)]


def refusal(documents: list[dict[str, Any]], path: Path, **query: Any) -> str:
    given = candidates(documents, path / "in.parquet", **query)
    with pytest.raises(InputError) as raised:
        groups(given)
    message = str(raised.value)
    assert "Signature" not in message
    assert "secret" not in message
    return message


def test_contents_are_read_by_their_columns(tmp_path: Path) -> None:
    data = png("tent")
    made = [{"text": "a"}, {"image": URL}, {"image_bytes": data}, {"video": URL}]

    (group,) = groups(candidates(made, tmp_path / "in.parquet"))

    assert group.texts.to_pylist() == ["a", None, None, None]
    assert group.media == {
        1: Image(url=URL),
        2: Image(data=data, media_type="image/png"),
        3: Video(URL),
    }


def test_a_query_is_a_text_or_an_image(tmp_path: Path) -> None:
    made, data = [{"text": "a"}, {"text": "b"}], png("tent")
    for name, value, expected in (
        ("query", "tent", "tent"),
        ("query_image", URL, Image(url=URL)),
        ("query_image_bytes", data, Image(data=data, media_type="image/png")),
    ):
        (group,) = groups(candidates(made, tmp_path / f"{name}.parquet", **{name: value}))
        assert group.query == expected


def test_queries_of_one_input_may_be_texts_and_images(tmp_path: Path) -> None:
    both = [
        table([{"text": "a"}] * 2, query_id="one", query="tent"),
        table([{"text": "a"}] * 2, query_id="other", query_image=URL),
        table([{"text": "a"}] * 2, query_id="last", query="lamp"),
    ]
    given = write(pa.concat_tables(both, promote_options="permissive"), tmp_path / "in.parquet")

    assert [group.query for group in groups(given)] == ["tent", Image(url=URL), "lamp"]


@pytest.mark.parametrize(("allowed", "is_checked"), [(0, True), (-1, False)])
def test_images_are_checked_beforehand_unless_the_input_is_large(
    allowed: int, is_checked: bool, tmp_path: Path
) -> None:
    given = candidates([{"text": "a", "image": URL}], tmp_path / "in.parquet")
    limits = BatchLimits(max_checked_bytes=given.stat().st_size + allowed)

    with pytest.raises(InputError) if is_checked else nullcontext():
        source(given, limits=limits).check_ids()


@pytest.mark.parametrize("duplicates", ["first", "keep"])
@pytest.mark.parametrize("max_rows", [1, 2, 4, 6, 100])
def test_images_stay_with_their_candidates_however_rows_are_cut(
    max_rows: int, duplicates: str, tmp_path: Path
) -> None:
    made = list[pa.Table]()
    expected = list[tuple[object, dict[int, Image], list[str | None]]]()
    for number, size in enumerate((3, 1, 1, 4, 2, 1, 1, 2)):
        query = Image(url=f"{URL}-{number}")
        images = {row: Image(url=f"{URL}-{number}-{row}") for row in range(0, size, 2)}
        texts = [None if row in images else "a text" for row in range(size)]
        documents = [
            {"image": images[row].url} if row in images else {"text": "a text"}
            for row in range(size)
        ]
        made.append(table(documents, query_id=f"{number}", query_image=query.url))
        expected.append((query, images, texts))
    given = write(pa.concat_tables(made, promote_options="permissive"), tmp_path / "in.parquet")

    limits = BatchLimits(max_rows=max_rows, max_run_rows=max_rows)
    found = groups(given, limits=limits, duplicates=duplicates)

    assert [(group.query, group.media, group.texts.to_pylist()) for group in found] == expected


def test_repeats_are_dropped_of_images_as_of_texts(tmp_path: Path) -> None:
    made = [
        {"doc_id": "a", "image": URL},
        {"doc_id": "b", "text": "b"},
        {"doc_id": "a", "image": URL + "2"},
        {"doc_id": "c", "image": URL + "3"},
    ]

    (group,) = groups(candidates(made, tmp_path / "in.parquet"), duplicates="first")

    assert group.media == {0: Image(url=URL), 2: Image(url=URL + "3")}
    assert group.texts.to_pylist() == [None, "b", None]


@pytest.mark.parametrize(("max_queries", "found"), [(None, (3, 2)), (2, (2, 1)), (1, (1, 1))])
def test_repeats_are_counted_of_images_as_of_texts(
    max_queries: int | None, found: tuple[int, int], tmp_path: Path
) -> None:
    image = {"doc_id": "a", "image": URL}
    made = [
        table([image, {"doc_id": "b", "text": "b"}, image], query_id="one"),
        table([image, {"doc_id": "b", "image": URL}], query_id="other"),
        table([image, image], query_id="last"),
    ]
    given = write(pa.concat_tables(made, promote_options="permissive"), tmp_path / "in.parquet")

    checked = source(given, max_queries=max_queries).check_ids()

    assert (checked.num_groups, checked.num_repeated) == found


def test_blank_values_count_as_null(tmp_path: Path) -> None:
    made = [
        {"text": " ", "image": URL, "image_bytes": b"", "video": ""},
        {"text": "a", "image": "\t", "image_bytes": b"", "video": None},
    ]

    (group,) = groups(candidates(made, tmp_path / "in.parquet"))

    assert group.media == {0: Image(url=URL)}


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ([{"text": "a"}, {"text": "b", "image": URL}], "2 of them in row 1, query_id 'q'"),
        ([{"image": URL}, {"text": "a"}, {"text": None}], "0 of them in row 2, query_id 'q'"),
        ([{"image": URL, "image_bytes": png()}], "2 of them in row 0"),
        ([{"image": URL, "video": URL}, {"text": "a"}], "2 of them in row 0"),
    ],
)
def test_a_candidate_is_exactly_one_thing(
    documents: list[dict[str, Any]], found: str, tmp_path: Path
) -> None:
    message = refusal(documents, tmp_path)

    assert "exactly one of text, image, image_bytes, video" in message
    assert found in message


@pytest.mark.parametrize("path", ["tent.png", "/data/tent.png", "C:\\tent.png", "file:///t.png"])
@pytest.mark.parametrize("column", ["image", "video"])
def test_a_local_path_is_no_address(column: str, path: str, tmp_path: Path) -> None:
    message = refusal([{"text": "a"}, {column: path}], tmp_path)

    assert f"column '{column}' holds no web address" in message
    assert "found row 1, query_id 'q'" in message
    assert ("image_bytes" in message) is (column == "image")


def test_a_query_may_be_no_local_path_either(tmp_path: Path) -> None:
    message = refusal([{"text": "a"}], tmp_path, query_image="tent.png")

    assert "column 'query_image' holds no web address" in message
    assert "query_image_bytes" in message


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (GIF, "GIF"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"<svg xmlns=", "SVG"),
        (b"just text", "none of the formats"),
    ],
)
def test_a_file_of_another_format_is_refused_by_its_first_bytes(
    data: bytes, name: str, tmp_path: Path
) -> None:
    message = refusal([{"text": "a"}, {"image_bytes": data}], tmp_path)

    assert f"found {name} in row 1" in message
    assert "expected JPEG, PNG, WEBP" in message


@pytest.mark.parametrize(
    "address",
    [
        "data:image/gif;base64," + b64encode(GIF).decode(),
        "data:image/png;base64,@@@@",
        "data:image/png," + "x",
    ],
)
def test_a_data_url_must_hold_an_image(address: str, tmp_path: Path) -> None:
    assert "holds a data URL without an image" in refusal([{"image": address}], tmp_path)


@pytest.mark.parametrize(
    "query",
    [{"query": "a", "query_image": URL}, {"query_image": URL, "query_image_bytes": png()}],
)
def test_a_query_is_one_thing(query: dict[str, Any], tmp_path: Path) -> None:
    message = refusal([{"text": "a"}], tmp_path, **query)

    assert "a query must hold one of query, query_image, query_image_bytes" in message


def test_two_images_under_one_query_id_are_refused(tmp_path: Path) -> None:
    both = [
        table([{"text": "a"}], query_image=URL),
        table([{"text": "b"}], query_image=URL + "2"),
    ]
    given = write(pa.concat_tables(both), tmp_path / "in.parquet")

    with pytest.raises(InputError, match="two different queries under one query_id"):
        groups(given)


@pytest.mark.parametrize("image", [{"query_image": URL}, {"query_image_bytes": png()}])
def test_a_text_and_an_image_under_one_query_id_are_refused(
    image: dict[str, Any], tmp_path: Path
) -> None:
    made = [
        table([{"text": "a"}], query_id="before", query="lamp"),
        table([{"text": "a"}], query="tent"),
        table([{"text": "b"}], **image),
        table([{"text": "a"}] * 2, query_id="after", query="lamp"),
    ]
    given = write(pa.concat_tables(made, promote_options="permissive"), tmp_path / "in.parquet")

    with pytest.raises(InputError, match=r"different queries under one query_id .*query_id 'q'"):
        groups(given)


def test_a_column_of_images_must_have_a_fitting_type(tmp_path: Path) -> None:
    given = pa.table(
        {"query_id": ["q"], "query": ["a"], "doc_id": ["d"], "image_bytes": ["a string"]}
    )

    with pytest.raises(InputError, match="column 'image_bytes' has a wrong type"):
        source(write(given, tmp_path / "in.parquet"))


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    given = table([{"image": URL}]).rename_columns({"image": "picture"})

    (group,) = groups(write(given, tmp_path / "in.parquet"), columns={"image": "picture"})

    assert group.media == {0: Image(url=URL)}


def test_an_input_of_texts_alone_is_read_as_for_any_model(tmp_path: Path) -> None:
    given = candidates([{"text": "a"}, {"text": None}, {"text": " "}], tmp_path / "in.parquet")

    (batch,) = source(given).iter_batches()

    assert batch.media is None
    assert batch.texts.to_pylist() == ["a", None, " "]


# A model of texts


def test_for_a_model_of_texts_such_columns_pass_through(tmp_path: Path) -> None:
    given = candidates([{"text": "a", "image": "tent.png"}], tmp_path / "in.parquet")

    (group,) = groups(given, media=False)

    assert group.media == {}
    assert group.output.candidates["image"].to_pylist() == ["tent.png"]


def test_a_model_of_texts_scores_no_images(tmp_path: Path) -> None:
    given = candidates([{"image": URL}], tmp_path / "in.parquet")

    with pytest.raises(InputError) as raised:
        source(given, media=False)

    assert "the model scores texts alone (found image)" in str(raised.value)
    assert "qwen3-vl-rerank" in str(raised.value)


def test_a_model_of_texts_takes_no_column_of_images(tmp_path: Path) -> None:
    given = candidates([{"text": "a"}], tmp_path / "in.parquet")

    with pytest.raises(SettingsError, match=r"--column: the model scores texts alone"):
        source(given, media=False, columns={"image": "picture"})


def test_a_row_with_an_image_in_place_of_a_text_is_not_skipped_in_silence(tmp_path: Path) -> None:
    given = candidates([{"text": "a"}, {"text": None, "image": URL}], tmp_path / "in.parquet")

    with pytest.raises(InputError) as raised:
        groups(given, media=False)

    assert "row 1, query_id 'q'" in str(raised.value)
    assert "qwen3-vl-rerank" in str(raised.value)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (png()[:16], "image/png"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"BM\0\0", "image/bmp"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"\0\0\1\0", "image/x-icon"),
        (b"icns", "image/icns"),
        (b"\x01\xda\x01", "image/sgi"),
        (b"\x28\0\0\0", "image/bmp"),
        (b"", None),
        (GIF, None),
    ],
)
def test_the_first_bytes_tell_the_format(start: bytes, expected: str | None) -> None:
    assert media_type_of(start) == expected
