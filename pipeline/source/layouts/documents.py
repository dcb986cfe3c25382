"""The forms in which one column holds the candidates of a row, and how to take them apart.

* a list of structs, of any width, fixed size or view: `[{doc_id, text, ...}, ...]`
* a list of maps from names to values: `[{"doc_id": ..., "text": ...}, ...]`
* a map from doc_id to the text, or to a struct of the other fields
* a struct of lists of equal lengths: `{doc_id: [...], text: [...], ...}`
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from pipeline.core.arrays import IntArray
from pipeline.source.arrow import Array, Field

DOCUMENTS: Final = "documents"
"""The column of the candidates, unless `--column documents=NAME` names another."""
WHOLE: Final = ""
"""Stands for all fields of a candidate in a map, whose names are not in its type."""


class UnequalLists(Exception):
    """The lists of a row have different lengths.

    Args:
        row: The row, counted in the batch.
    """

    def __init__(self, row: int) -> None:
        self.row = row
        super().__init__(row)


class TakenApart(Struct, frozen=True, eq=False):
    """The candidates of some rows.

    Attributes:
        sizes: int64, the number of candidates of each row; 0 for a null.
        fields: The values of each field, one per candidate.
    """

    sizes: IntArray
    fields: dict[str, Array]


def is_list(kind: pa.DataType) -> bool:
    """Return whether the type is a list of any width, fixed size or view."""
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def fields_of(kind: Any, names: Sequence[str]) -> list[Field] | None:
    """Return the fields of the candidates that a column of a type holds.

    Args:
        kind: The column's type.
        names: The names to look for in maps, whose types hold no names.

    Returns:
        The fields; None for a type that holds no candidates. Required fields may be missing.
    """
    if is_list(kind) and pa.types.is_struct(kind.value_type):
        return list(kind.value_type)
    if is_list(kind) and pa.types.is_map(kind.value_type):
        items = [pa.field(name, kind.value_type.item_type) for name in names]
        return [*items, pa.field(WHOLE, kind.value_type)]
    if pa.types.is_map(kind):
        held = kind.item_type
        is_struct = pa.types.is_struct(held)
        rest = list(held) if is_struct else [pa.field("text", held)]
        return [pa.field("doc_id", kind.key_type), *rest]
    if pa.types.is_struct(kind) and kind.num_fields and all(is_list(f.type) for f in kind):
        return [pa.field(f.name, f.type.value_type) for f in kind]
    return None


def take_apart(column: Any, names: Sequence[str]) -> TakenApart:
    """Return the candidates that a column holds; the fields are those of `fields_of`.

    Raises:
        UnequalLists: for a struct whose lists differ in length.
    """
    kind = column.type
    if pa.types.is_struct(kind):
        return join_lists(dict(zip(kind.names, column.flatten(), strict=True)))
    if pa.types.is_map(kind):
        # A map has the memory of a list of structs, but not its functions.
        entry = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        sizes, entries = _flatten(column.cast(pa.list_(entry)))
        keys, values = entries.flatten()
        if not pa.types.is_struct(kind.item_type):
            return TakenApart(sizes, {"doc_id": keys, "text": values})
        return TakenApart(sizes, {"doc_id": keys} | _children(values))
    sizes, values = _flatten(column)
    if not pa.types.is_map(values.type):
        return TakenApart(sizes, _children(values))
    found = {name: pc.map_lookup(values, _key(name, values.type), "first") for name in names}
    return TakenApart(sizes, found | {WHOLE: values})


def join_lists(columns: dict[str, Any]) -> TakenApart:
    """Return the candidates whose fields are lists side by side.

    Raises:
        UnequalLists: if the lists of a row differ in length; a null is a list of none.
    """
    taken = {name: _flatten(column) for name, column in columns.items()}
    sizes = next(iter(taken.values()))[0]
    for others, _ in taken.values():
        unequal = np.flatnonzero(others != sizes)
        if len(unequal):
            raise UnequalLists(int(unequal[0]))
    return TakenApart(sizes, {name: values for name, (_, values) in taken.items()})


def _flatten(column: Any) -> tuple[IntArray, Any]:
    """Return the length of each list, 0 for a null, and the values of all lists."""
    sizes = np.asarray(pc.list_value_length(column).fill_null(0), np.int64)
    return sizes, pc.list_flatten(column)


def _children(values: Any) -> dict[str, Array]:
    """Return the fields of structs; those of a null struct are null."""
    return dict(zip(values.type.names, values.flatten(), strict=True))


def _key(name: str, kind: Any) -> Any:
    return pa.scalar(name, kind.key_type)
