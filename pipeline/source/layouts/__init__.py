"""The layouts of an input, by name; one file a layout."""

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.core.errors import SettingsError
from pipeline.core.settings import LayoutName
from pipeline.source.input_file import InputFile
from pipeline.source.layouts.documents import DOCUMENTS
from pipeline.source.layouts.layout import Layout, LayoutFactory
from pipeline.source.layouts.long import LongLayout
from pipeline.source.layouts.nested import NestedLayout

LAYOUTS: Final[Mapping[LayoutName, LayoutFactory]] = {"long": LongLayout, "nested": NestedLayout}
"""The layouts that `--layout` may name, besides `auto`."""


def choose_layout(
    name: str | LayoutFactory,
    columns: Mapping[str, str],
    files: Sequence[InputFile],
    *,
    media: bool = False,
) -> Layout:
    """Return the layout of an input.

    Args:
        name: A name in `LAYOUTS`, `auto` for the one that fits the files, or a layout's factory.
        columns: The column that plays a role, where it does not have the role's name.
        files: The files whose columns tell the layout.
        media: Whether the roles of images and videos count.

    Raises:
        SettingsError: for an unknown name.
    """
    schemas = [file.schema for file in files]
    if not isinstance(name, str):
        return name(columns, schemas, media)
    if name == "auto":
        is_nested = DOCUMENTS in columns or (
            not LongLayout.fits(columns, schemas, media)
            and NestedLayout.fits(columns, schemas, media)
        )
        name = "nested" if is_nested else "long"
    for known, layout in LAYOUTS.items():
        if known == name:
            return layout(columns, schemas, media)
    raise SettingsError("unknown layout", which="--layout", found=name, expected=["auto", *LAYOUTS])
