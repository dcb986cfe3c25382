"""Measures of many texts at once are those of each text."""

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.group_world import COUNTER

from pipeline.core.content import content_hash
from pipeline.core.groups import TextMeasures
from pipeline.tokens.measures import measure_texts

WHITE_SPACE = "".join(chr(code) for code in range(0x110000) if chr(code).isspace())
unhurried = settings(deadline=None)
texts = st.lists(
    st.none() | st.text(max_size=8) | st.text(WHITE_SPACE + "a\u200b\u3042", max_size=3),
    max_size=12,
)


def measure(values: list[str | None]) -> TextMeasures:
    return measure_texts(pa.array(values, pa.large_string()))


def same(one: TextMeasures, other: TextMeasures) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in TextMeasures.__slots__
    )


@unhurried
@given(texts)
@example([*WHITE_SPACE])
@example([])
def test_a_text_is_blank_if_stripping_leaves_nothing(values):
    expected = [value is None or not value.strip() for value in values]

    assert measure(values).blank.tolist() == expected


@unhurried
@given(texts)
def test_sizes_are_bytes_and_hashes_those_of_single_texts(values):
    measures = measure(values)

    assert measures.sizes.tolist() == [len((value or "").encode()) for value in values]
    assert measures.content_hashes.tolist() == [content_hash(value or "") for value in values]


@unhurried
@given(texts)
def test_only_equal_texts_have_equal_hashes(values):
    present = [value for value in values if value is not None]

    assert len(set(measure(present).content_hashes.tolist())) == len(set(present))


@unhurried
@given(texts)
def test_bounds_are_never_below_counts(values):
    counts = [COUNTER.count(value or "") for value in values]

    assert (measure(values).token_bounds >= counts).all()


@unhurried
@given(texts, texts)
def test_measures_do_not_depend_on_what_was_read_before(before, values):
    array = pa.array([*before, *values], pa.large_string())
    whole = measure_texts(array).slice(len(before), len(array))

    assert same(measure_texts(array.slice(len(before))), whole)
    assert same(measure(values), whole)


def test_a_null_that_hides_bytes_is_blank():
    array = pa.array(["hidden", "text"], pa.large_string())
    offsets, data = array.buffers()[1:]
    hiding = pa.LargeStringArray.from_buffers(2, offsets, data, pa.py_buffer(b"\x02"))

    assert measure_texts(hiding).blank.tolist() == [True, False]
