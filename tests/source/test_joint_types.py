"""Two types become the one that holds the values of both, or none."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.source.joint_types import joint_type

STRING, LARGE = pa.string(), pa.large_string()
NOT_NULL = pa.field("item", pa.string(), nullable=False)


@pytest.mark.parametrize(
    ("one", "other", "joint"),
    [
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.uint32(), pa.uint32()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.float16(), pa.float32(), pa.float32()),
        (pa.int16(), pa.float16(), pa.float32()),
        (pa.int8(), pa.float16(), pa.float16()),
        (pa.uint32(), pa.float32(), pa.float64()),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("ms", "UTC"), pa.timestamp("ns", "UTC"), pa.timestamp("ns", "UTC")),
        (pa.time32("ms"), pa.time64("ns"), pa.time64("ns")),
        (pa.time32("s"), pa.time32("ms"), pa.time32("ms")),
        (pa.duration("s"), pa.duration("ms"), pa.duration("ms")),
        (pa.decimal128(5, 2), pa.decimal128(10, 0), pa.decimal128(12, 2)),
        (pa.decimal32(5, 2), pa.decimal64(11, 4), pa.decimal128(11, 4)),
        (pa.decimal128(38, 2), pa.decimal128(38, 4), pa.decimal256(40, 4)),
        (STRING, LARGE, LARGE),
        (pa.binary(), pa.large_binary(), pa.large_binary()),
        (pa.binary(4), pa.binary(5), pa.binary()),
        (pa.binary(4), pa.large_binary(), pa.large_binary()),
        (pa.list_(pa.null()), pa.list_(STRING), pa.list_(STRING)),
        (pa.list_(STRING), pa.large_list(LARGE), pa.large_list(LARGE)),
        (pa.list_(NOT_NULL), pa.list_(STRING), pa.list_(STRING)),
        (pa.list_(pa.float32(), 3), pa.list_(pa.float64(), 3), pa.list_(pa.float64(), 3)),
        (pa.list_(STRING, 3), pa.list_(STRING, 4), pa.list_(STRING)),
        (pa.map_(STRING, pa.int8()), pa.map_(LARGE, pa.int16()), pa.map_(LARGE, pa.int16())),
        (
            pa.struct([("a", pa.null()), pa.field("b", STRING, nullable=False)]),
            pa.struct([("c", pa.list_(pa.int8())), ("a", pa.struct([("x", STRING)]))]),
            pa.struct(
                [("a", pa.struct([("x", STRING)])), ("b", STRING), ("c", pa.list_(pa.int8()))]
            ),
        ),
    ],
)  # fmt: skip
def test_types_that_another_one_holds_without_loss_are_joined(one, other, joint):
    assert joint_type(one, other) == joint
    assert joint_type(one, pa.null()) == joint_type(pa.null(), one) == one
    if not pa.types.is_struct(joint):  # the order of its fields is that of the first
        assert joint_type(other, one) == joint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.uint64()),
        (pa.int64(), pa.float64()),
        (pa.int32(), STRING),
        (pa.bool_(), pa.int8()),
        (STRING, pa.binary()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Tokyo")),
        (pa.date32(), pa.timestamp("us")),
        (pa.decimal128(38, 0), pa.decimal256(76, 70)),
        (pa.decimal128(5, 2), pa.float64()),
        (pa.list_(STRING), pa.list_(pa.int8())),
        (pa.list_(STRING), pa.struct([("a", STRING)])),
        (pa.struct([("a", STRING)]), pa.struct([("a", pa.int8())])),
        (pa.struct([("a", STRING), ("a", STRING)]), pa.struct([("a", STRING)])),
        (pa.map_(STRING, STRING), pa.map_(pa.int8(), STRING)),
        (pa.map_(STRING, STRING), pa.map_(STRING, pa.int8())),
    ],
)
def test_types_that_none_holds_without_loss_are_not_joined(one, other):
    assert joint_type(one, other) is None
    assert joint_type(other, one) is None


NUMBERS = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float16(), pa.float32(), pa.float64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
]


def values_of(kind: pa.DataType) -> st.SearchStrategy[float]:
    """Return a strategy for the values of a numeric type."""
    bits = kind.bit_width
    if pa.types.is_floating(kind):
        return st.floats(width=bits, allow_nan=False)
    if pa.types.is_signed_integer(kind):
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.integers(0, 2**bits - 1)


@given(st.data(), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS))
def test_no_number_is_changed_by_it(data, one, other):
    joint = joint_type(one, other)
    values = pa.array([data.draw(values_of(one))], one)

    if joint is not None:
        assert values.cast(joint).to_pylist() == values.to_pylist()
