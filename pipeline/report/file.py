"""Write the page: whole or not at all, and never over a file that is not a report."""

from typing import Final

from pipeline.core.errors import InputError, OutputFailed, OutputMismatch, SettingsError
from pipeline.core.printable import make_printable
from pipeline.output.layout import REPORT_NAME
from pipeline.storage.location import Location, locate

MARK: Final = b'<meta name="generator" content="rerank report">'
"""Stands near the beginning of every page."""

_START: Final = 4_096


def locate_page(output: str, name: str | None) -> Location:
    """Return where to write the page; call this before anything is read.

    Args:
        output: The output that the page is about.
        name: The file; None for the one in the output.

    Raises:
        SettingsError: for a folder, and a name that cannot be used.
        OutputMismatch: for a file that is no report.
    """
    if name is None:
        return locate(output).child(REPORT_NAME)
    shown = make_printable(name)
    try:
        file = locate(name)
        is_folder = not name or name.endswith("/") or file.is_folder()
        content = None if is_folder else file.read()
    except (InputError, OutputFailed) as error:
        raise SettingsError(error.what, which="-o", found=shown, cure=error.cure) from error
    if is_folder:
        raise SettingsError("is a folder", which="-o", found=shown, expected="a file")
    if content is not None and MARK not in content[:_START]:
        raise OutputMismatch(
            "exists, and is no report", which=shown, cure="remove it, or choose another FILE"
        )
    return file


def write_page(file: Location, page: str) -> int:
    """Write a page, which becomes visible whole; return its size in bytes.

    Raises:
        OutputFailed: if it cannot be written.
    """
    content = page.encode()
    file.publish(content)
    return len(content)
