"""Check where an output is to be, before anything is written."""

from pathlib import PurePosixPath

from pipeline.core.errors import InputError, SettingsError
from pipeline.output.layout import MANIFEST_NAME, is_hidden
from pipeline.output.manifest import refuse_foreign
from pipeline.storage.location import Location, locate


def locate_output(option: str, name: str) -> Location:
    """Return the folder that an option names.

    Raises:
        SettingsError: for an address that is not understood, or needs an extra.
    """
    try:
        return locate(name)
    except InputError as error:
        raise SettingsError(
            error.what, which=option, found=name, expected=error.expected, cure=error.cure
        ) from error


def validate_output(output: Location, input_name: str) -> None:
    """Accept an output that was begun before, and a new one that is empty and not in the input.

    Raises:
        OutputMismatch: if it is a file, or a folder with other files.
        SettingsError: if the next run would read it as part of its input.
    """
    if output.child(MANIFEST_NAME).exists():
        return
    refuse_foreign(output)
    folder = locate(input_name)
    if not folder.is_folder() or folder.is_local is not output.is_local:
        return
    place, within = PurePosixPath(output.path), PurePosixPath(folder.path)
    below = place.relative_to(within).parts if place.is_relative_to(within) else None
    if below is not None and not any(map(is_hidden, below)):
        raise SettingsError(
            "OUTPUT lies within INPUT, where the next run would read it as candidates",
            which=output.name,
            cure="choose an OUTPUT beside it, or one whose name begins with _",
        )
