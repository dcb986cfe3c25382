"""Find the type that holds the values of a column in two files without loss.

The types are plain ones, see `column_types`. A number stays a number, text stays text, and a time
without a zone gets none. A column that only one of two structs has is null in the other.
"""

from typing import Any, Final, TypeAlias

import pyarrow as pa

from pipeline.source.arrow import Field

Type: TypeAlias = Any
"""An Arrow type; the stubs know few attributes of the special ones."""

_UNITS: Final = ("s", "ms", "us", "ns")
_SIGNED: Final = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_FLOATING: Final = ((11, pa.float16()), (24, pa.float32()), (53, pa.float64()))
"""Types of floats, with the bits of the integers that each holds exactly."""
_DECIMAL: Final = ((38, pa.decimal128), (76, pa.decimal256))
"""Types of decimals, with the most digits that each holds."""


def joint_type(one: Type, other: Type) -> Type | None:
    """Return the type that holds the values of both types without loss; None if there is none.

    One exception is known only when values are read: nanoseconds reach from 1677 to 2262 alone.
    """
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    for rule in (_numbers, _decimals, _times, _strings, _lists, _structs, _maps):
        joint = rule(one, other)
        if joint is not None:
            return joint
    return None


def _numbers(one: Type, other: Type) -> Type | None:
    if _both(pa.types.is_integer, one, other):
        if _is_unsigned(one) is _is_unsigned(other):
            return _wider(one, other)
        bits = max(kind.bit_width + _is_unsigned(kind) for kind in (one, other))
        return next((kind for kind in _SIGNED if kind.bit_width >= bits), None)
    if _both(pa.types.is_floating, one, other):
        return _wider(one, other)
    if pa.types.is_floating(one):
        one, other = other, one
    if not (pa.types.is_integer(one) and pa.types.is_floating(other)):
        return None
    bits = one.bit_width - (not _is_unsigned(one))
    exact = next((kind for holds, kind in _FLOATING if holds >= bits), None)
    return exact and _wider(exact, other)


def _decimals(one: Type, other: Type) -> Type | None:
    if not _both(pa.types.is_decimal, one, other):
        return None
    scale = max(one.scale, other.scale)
    digits = scale + max(one.precision - one.scale, other.precision - other.scale)
    return next((make(digits, scale) for holds, make in _DECIMAL if digits <= holds), None)


def _times(one: Type, other: Type) -> Type | None:
    if _both(pa.types.is_timestamp, one, other):
        return pa.timestamp(_finer_unit(one, other), one.tz) if one.tz == other.tz else None
    if _both(pa.types.is_duration, one, other):
        return pa.duration(_finer_unit(one, other))
    if _both(pa.types.is_time, one, other):
        unit = _finer_unit(one, other)
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    return None


def _strings(one: Type, other: Type) -> Type | None:
    if _both(_is_text, one, other):
        return pa.large_string()
    if _both(_is_binary, one, other):
        return pa.large_binary() if pa.large_binary() in (one, other) else pa.binary()
    return None


def _lists(one: Type, other: Type) -> Type | None:
    if not _both(_is_list, one, other):
        return None
    values = _joint_field(one.value_field, other.value_field)
    if values is None:
        return None
    if _both(pa.types.is_fixed_size_list, one, other) and one.list_size == other.list_size:
        return pa.list_(values, one.list_size)
    is_large = pa.types.is_large_list(one) or pa.types.is_large_list(other)
    return pa.large_list(values) if is_large else pa.list_(values)


def _structs(one: Type, other: Type) -> Type | None:
    if not _both(pa.types.is_struct, one, other):
        return None
    before, after = ({field.name: field for field in kind} for kind in (one, other))
    if len(before) < one.num_fields or len(after) < other.num_fields:
        return None  # two fields of one name
    fields = []
    for name in before | after:
        if name in before and name in after:
            field = _joint_field(before[name], after[name])
        else:
            field = (before | after)[name].with_nullable(True)
        if field is None:
            return None
        fields.append(field)
    return pa.struct(fields)


def _maps(one: Type, other: Type) -> Type | None:
    if not _both(pa.types.is_map, one, other):
        return None
    keys = joint_type(one.key_type, other.key_type)
    values = _joint_field(one.item_field, other.item_field)
    return None if keys is None or values is None else pa.map_(keys, values)


def _joint_field(one: Field, other: Field) -> Any:
    kind = joint_type(one.type, other.type)
    return kind and pa.field(one.name, kind, one.nullable or other.nullable)


def _both(check: Any, one: Type, other: Type) -> bool:
    return bool(check(one) and check(other))


def _is_unsigned(kind: Type) -> bool:
    return pa.types.is_unsigned_integer(kind)


def _wider(one: Type, other: Type) -> Type:
    return max(one, other, key=lambda kind: kind.bit_width)


def _finer_unit(one: Type, other: Type) -> Any:
    return max(one.unit, other.unit, key=_UNITS.index)


def _is_text(kind: Type) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_binary(kind: Type) -> bool:
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_list(kind: Type) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
