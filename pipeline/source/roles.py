"""The roles that columns play, and the types that they may have."""

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from pipeline.core.errors import InputError, SettingsError
from pipeline.source.arrow import Field
from pipeline.source.column_types import (
    BYTES_TYPES,
    ID_TYPES,
    RANK_TYPES,
    TEXT_TYPES,
    bytes_type,
    id_type,
    plain_type,
    rank_type,
    text_type,
)
from pipeline.source.input_file import InputFile
from pipeline.source.layouts.layout import DOCUMENT_MEDIA, OPTIONAL, QUERY_MEDIA, REQUIRED

MEDIA_ROLES: Final = (*DOCUMENT_MEDIA, *QUERY_MEDIA)
"""The roles of images and videos."""
ROLES: Final = (*REQUIRED, *OPTIONAL)
"""The other roles."""

_TYPE_RULES: Final = {
    "query_id": (id_type, ID_TYPES),
    "doc_id": (id_type, ID_TYPES),
    "query": (text_type, TEXT_TYPES),
    "text": (text_type, TEXT_TYPES),
    "first_stage_rank": (rank_type, RANK_TYPES),
    **dict.fromkeys(("image", "video", "query_image"), (text_type, TEXT_TYPES)),
    **dict.fromkeys(("image_bytes", "query_image_bytes"), (bytes_type, BYTES_TYPES)),
}


def has_type_of_its_own(role: str) -> bool:
    """Return whether the job reads the values of a role, rather than passing them through."""
    return role in _TYPE_RULES


def refuse_unknown_roles(
    columns: Mapping[str, str], other_names: Sequence[str], *, media: bool
) -> None:
    """Refuse names that `--column` cannot take.

    Args:
        columns: The input column that plays a role, as the user named it.
        other_names: What it may name besides roles.
        media: Whether columns may play the roles of images and videos.

    Raises:
        SettingsError: for a name that is no role, or one that the model does not score.
    """
    names = (*ROLES, *(MEDIA_ROLES if media else ()), *other_names)
    for name in columns:
        if name in MEDIA_ROLES and not media:
            raise SettingsError(
                "the model scores texts alone",
                which="--column",
                found=name,
                cure="choose a multimodal --model such as qwen3-vl-rerank",
            )
        if name not in names:
            is_reversed = columns[name] in names
            raise SettingsError(
                "unknown column",
                which="--column",
                found=name,
                expected=", ".join(names),
                cure=f"write it the other way round: --column {columns[name]}={name}"
                if is_reversed
                else None,
            )


def role_type(role: str, field: Field, file: InputFile) -> pa.DataType:
    """Return the type in which the job works with a role's column.

    Raises:
        InputError: for a type that the role cannot have.
    """
    if role not in _TYPE_RULES:
        return plain_type(field.type)
    rule, expected = _TYPE_RULES[role]
    kind = rule(field.type)
    if kind is None:
        cure = f"cast it, or name another column with --column {role}=NAME"
        if role.endswith("_id") and pa.types.is_floating(field.type):
            cure = "cast it to int64 or string (pandas turns integers with nulls into floats)"
        raise InputError(
            f"column {field.name!r} has a wrong type",
            which=file.location.name,
            found=field.type,
            expected=expected,
            cure=cure,
        )
    return kind
