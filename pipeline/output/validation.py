"""Whether an output may be begun where the user wants it; asked before anything is written."""

from pathlib import PurePosixPath

from pipeline.core.errors import InputError, SettingsError
from pipeline.output.manifest import MANIFEST_NAME, refuse_foreign
from pipeline.storage.location import Location, locate


def locate_output(option: str, name: str) -> Location:
    """The folder that an option names.

    Raises:
        SettingsError: for an address that no file system understands.
    """
    try:
        return locate(name)
    except InputError as error:
        what, expected = error.what, error.expected
        raise SettingsError(what, which=option, found=name, expected=expected) from error


def validate_output(output: Location, input_name: str) -> None:
    """Let pass an output that exists, and a new one that is in nobody's way.

    Raises:
        OutputMismatch: if it is a file, or a folder with other files.
        SettingsError: if the next run would take it for a part of its input.
    """
    if output.child(MANIFEST_NAME).exists():
        return
    refuse_foreign(output)
    folder = locate(input_name)
    if not folder.is_folder() or folder.is_local is not output.is_local:
        return
    place, within = PurePosixPath(output.path), PurePosixPath(folder.path)
    if place.is_relative_to(within) and not _is_hidden(place.relative_to(within)):
        raise SettingsError(
            "OUTPUT lies within INPUT, where the next run would read it as candidates",
            which=output.name,
            cure="choose an OUTPUT beside it, or one whose name begins with _",
        )


def _is_hidden(path: PurePosixPath) -> bool:
    return any(name.startswith(("_", ".")) for name in path.parts)
