"""Lists of texts as JSON: what orjson makes of the same lists, however the column is cut."""

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.planning.json_columns import encode_lists

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(
    '\\"\x00\x1f\n一é😀'
)


def encoded(lists: list[list[str]], *, before: list[str] | None = None) -> list[bytes]:
    """Encode the lists; `before` are texts of the column that none of them holds."""
    before = before or []
    column = pa.array([*before, *(text for texts in lists for text in texts)], pa.large_string())
    offsets = np.cumsum([0, *map(len, lists)])
    found = encode_lists(column.slice(len(before)), offsets)
    assert [len(texts) for texts in found] == [len(texts) for texts in lists]
    return [texts.json for texts in found]


@given(
    lists=st.lists(st.lists(TEXTS, min_size=1, max_size=5), max_size=5),
    before=st.lists(TEXTS, max_size=2),
)
@example(lists=[["\\u0041", '\\"'], ["\\\n", "\\n", ""]], before=['"'])
@example(lists=[['"'], ['"']], before=[])
@example(lists=[["\\"]], before=[])
@example(lists=[["a blank and \x01"]], before=[])
def test_every_list_is_the_json_of_its_texts(lists: list[list[str]], before: list[str]) -> None:
    found = encoded(lists, before=before)

    assert [orjson.loads(json) for json in found] == lists
    assert found == [orjson.dumps(texts) for texts in lists]


@pytest.mark.parametrize("code", range(0x80))
def test_every_ascii_character_is_written_as_orjson_writes_it(code: int) -> None:
    text = f"a{chr(code)}b"

    assert encoded([[text, "plain"], [text]]) == [
        orjson.dumps([text, "plain"]),
        orjson.dumps([text]),
    ]


def test_no_lists_are_nothing() -> None:
    assert encoded([]) == []
