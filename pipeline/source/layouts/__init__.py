"""The layouts of an input, by name; one file a layout."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.core.errors import InputError, SettingsError
from pipeline.source.input_file import InputFile
from pipeline.source.layouts.layout import Layout, LayoutFactory
from pipeline.source.layouts.long import LongLayout

LAYOUTS: Mapping[str, LayoutFactory] = {"long": LongLayout}
"""What `--layout` may name, besides `auto`."""


def choose_layout(
    name: str | LayoutFactory, columns: Mapping[str, str], files: Sequence[InputFile]
) -> Layout:
    """Return the layout of an input.

    Args:
        name: A name in `LAYOUTS`, `auto` for the one that fits the files, or a layout's factory.
        columns: The column that plays a role, where it does not bear the role's name.
        files: The files whose columns tell the layout.

    Raises:
        SettingsError: for an unknown name.
        InputError: if `auto` finds candidates in lists, which no layout reads.
    """
    if not isinstance(name, str):
        return name(columns)
    if name == "auto":
        _refuse_lists(files, columns)
        return LongLayout(columns)
    if name not in LAYOUTS:
        raise SettingsError(
            "unknown layout", which="--layout", found=name, expected=["auto", *LAYOUTS]
        )
    return LAYOUTS[name](columns)


def _refuse_lists(files: Sequence[InputFile], columns: Mapping[str, str]) -> None:
    for file in files:
        is_long = {columns.get(role, role) for role in ("doc_id", "text")} <= {*file.schema.names}
        lists = [field.name for field in file.schema if _is_list(field.type)]
        if lists and not is_long:
            raise InputError(
                f"a row per query, with its candidates in {lists}, is not supported yet",
                which=file.location.name,
                expected=LongLayout.description,
                cure="unnest the lists before this job",
            )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)
