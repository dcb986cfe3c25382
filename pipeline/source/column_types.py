"""Which column types the input may have, and their types in the output.

Ids keep their type exactly. Encodings that only the writer chose (dictionary, string_view, run-end)
become the plain type they stand for: the dictionary of a record batch depends on how the input was
cut, and the bytes of a part must not.
"""

import pyarrow as pa

from pipeline.source.arrow import Field

ID_TYPES = "a string, integer or UUID type"
TEXT_TYPES = "a string type, or binary that holds UTF-8"
BYTES_TYPES = "a binary type, with a whole file in each value"
RANK_TYPES = "an integer type"


def plain_type(kind: pa.DataType, *, swap_list_views: bool = False) -> pa.DataType:
    """Return the type without dictionaries, views and runs, within nested types too.

    Args:
        kind: Any type.
        swap_list_views: Return lists of the other width than that of a list view. Arrow's cast to
            the same width lacks the last offset (20 to 26); to the other width it is right.
    """
    if isinstance(kind, (pa.DictionaryType, pa.RunEndEncodedType)):
        values: pa.DataType = kind.value_type
        return plain_type(values, swap_list_views=swap_list_views)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()

    def plain_field(field: Field) -> Field:
        return field.with_type(plain_type(field.type, swap_list_views=swap_list_views))

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(plain_field(kind.value_field))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        is_large = pa.types.is_large_list_view(kind) is not swap_list_views
        return (pa.large_list if is_large else pa.list_)(plain_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        fixed: pa.DataType = pa.list_(plain_field(kind.value_field), kind.list_size)
        return fixed
    if pa.types.is_struct(kind):
        return pa.struct([plain_field(kind.field(at)) for at in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(plain_field(kind.key_field).type, plain_field(kind.item_field).type)
    return kind


def text_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the output type of a text column; None if the type holds no text."""
    kind = plain_type(kind.storage_type if isinstance(kind, pa.JsonType) else kind)
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return pa.large_string()
    return None


def bytes_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the output type of a column of files; None if the type holds no bytes."""
    plain = plain_type(kind)
    if pa.types.is_binary(plain) or pa.types.is_fixed_size_binary(plain) or pa.types.is_null(plain):
        return pa.binary()
    return plain if pa.types.is_large_binary(plain) else None


def id_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the output type of ids, string for UUIDs; None if the type holds no exact ids."""
    if isinstance(kind, pa.UuidType):
        return pa.string()
    plain = plain_type(kind)
    return plain if pa.types.is_integer(plain) else text_type(plain)


def rank_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the output type of a column of ranks; None if the type holds no ranks."""
    return pa.int32() if pa.types.is_integer(plain_type(kind)) else None


def has_nested_dictionary(schema: pa.Schema) -> bool:
    """Return whether a list, struct or map of the schema holds a dictionary.

    Arrow's Parquet reader cannot join such values of several row groups.
    """
    return any(
        _holds_dictionary(kind.field(at).type)
        for kind in schema.types
        for at in range(kind.num_fields)
    )


def _holds_dictionary(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or any(
        _holds_dictionary(kind.field(at).type) for at in range(kind.num_fields)
    )
