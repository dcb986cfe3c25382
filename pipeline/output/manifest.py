"""The manifest: settings and input of an output, and whether a run may continue it.

`_manifest.json` holds the settings and the input files. A run with others is refused, and the
message names what differs. Everything here blocks on files: call it in a thread.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from pipeline.core.errors import OutputMismatch
from pipeline.core.settings import OUTPUT_FORMAT, fingerprint
from pipeline.output.differences import FileFacts, file_differences, setting_differences
from pipeline.output.layout import (
    LOCKS_FOLDER,
    MANIFEST_NAME,
    RESULT_FOLDERS,
    RUNS_FOLDER,
    SCORES_FOLDER,
    SUCCESS_NAME,
    is_hidden,
    part_index,
)
from pipeline.storage.leftovers import ABANDONED_AFTER_S, remove_leftovers
from pipeline.storage.location import Location

_SHOWN_DIFFERENCES = 4


class Manifest(Struct, frozen=True, kw_only=True):
    """The content of the manifest.

    Attributes:
        format: Version of the output's files.
        fingerprint: A short name of settings and input.
        settings: The settings that change the output, by name (`RunSettings.output_settings()`).
        input_files: The input's files, in reading order.
        created: When the output was begun, or begun anew; the same for every run on it.
    """

    format: int
    fingerprint: str
    settings: dict[str, Any]
    input_files: list[FileFacts] = field(name="input")
    created: datetime

    @property
    def begun_us(self) -> int:
        """When the output was begun, in microseconds since 1970."""
        return int(self.created.timestamp() * 1e6)

    def to_json(self) -> bytes:
        """Return the content of the file."""
        facts = msgspec.to_builtins(self) | {
            "created": self.created.isoformat(timespec="microseconds")
        }
        return msgspec.json.format(msgspec.json.encode(facts), indent=1)

    def is_sound(self) -> bool:
        """Return whether the fingerprint is that of the settings and the input."""
        return self.fingerprint == _fingerprint(self.settings, self.input_files)


def check_or_create(
    output: Location,
    settings: Mapping[str, Any],
    input_files: Sequence[Mapping[str, str | int]],
    *,
    restart: bool = False,
    has_answers: Callable[[], bool] = lambda: True,
    is_shared: bool = False,
) -> Manifest:
    """Check that the output belongs to these settings and this input; begin it if it is new.

    Call it while holding the output's lock: files that killed runs left half-written are removed.

    Args:
        output: The output folder.
        settings: The settings that change the output, by name.
        input_files: The `FileFacts` of each input file, in reading order.
        restart: Remove results of other settings or input; scores and run records are kept.
        has_answers: Returns whether its own score store holds paid answers. An output that has
            neither these nor a part may be taken over by other settings or input.
        is_shared: Whether other runs write to it now: then leave their half-written files alone.

    Raises:
        OutputMismatch: if it belongs to others, or is not an output of this job.
        OutputFailed: if it cannot be read or written.
    """
    manifest = _new_manifest(settings, input_files)
    existing = _read(output, check=not restart)
    differences = list[str]()
    if existing is not None and not restart:
        differences += setting_differences(existing.settings, manifest.settings)
        differences += file_differences(existing.input_files, manifest.input_files)
    if differences and not _has_parts(output) and not has_answers():
        restart = True
    if existing is None and not (restart and output.child(MANIFEST_NAME).exists()):
        refuse_foreign(output)
    elif restart:
        _remove_results(output)
    if existing is None or restart:
        output.make_folder()
        output.child(MANIFEST_NAME).publish(manifest.to_json())
    else:
        if differences:
            raise _other_settings(output, differences, has_answers=has_answers())
        manifest = existing
    if not is_shared:
        remove_unfinished(output)
    return manifest


def remove_unfinished(output: Location) -> None:
    """Remove half-written files and probes of killed runs; only this run may hold the output."""
    for folder in (output, *map(output.child, (*RESULT_FOLDERS, RUNS_FOLDER))):
        folder.remove_unfinished()
    for folder in (output, output.child(LOCKS_FOLDER)):
        remove_leftovers(folder, time.time(), older_than_s=ABANDONED_AFTER_S)


def read_manifest(output: Location) -> Manifest | None:
    """Return the manifest of an output; None if there is none.

    Raises:
        OutputMismatch: if the manifest is damaged or of another format.
    """
    return _read(output, check=True)


def refuse_foreign(output: Location) -> None:
    """Refuse an output without a manifest that is not empty: another program wrote it.

    Raises:
        OutputMismatch: if it is a file, or a folder with other files.
    """
    if output.size_bytes() is not None:
        raise OutputMismatch(
            "is a file", which=output.name, expected="a folder", cure="choose another OUTPUT"
        )
    foreign = [info.base_name for info in output.children() if not is_hidden(info.base_name)]
    if foreign:
        raise OutputMismatch(
            "not an output of this job: no _manifest.json, but other files",
            which=output.name,
            found=", ".join(foreign[:_SHOWN_DIFFERENCES]),
            cure="choose an empty folder as OUTPUT",
        )


def _new_manifest(
    settings: Mapping[str, Any], input_files: Sequence[Mapping[str, str | int]]
) -> Manifest:
    # Compare as JSON: there a tuple is a list.
    facts = msgspec.json.decode(msgspec.json.encode(settings))
    files = msgspec.convert(input_files, list[FileFacts])
    return Manifest(
        format=OUTPUT_FORMAT,
        fingerprint=_fingerprint(facts, files),
        settings=facts,
        input_files=files,
        created=datetime.now(UTC),
    )


def _fingerprint(settings: Mapping[str, Any], files: Sequence[FileFacts]) -> str:
    return fingerprint({"settings": settings, "input": msgspec.to_builtins(files)})


class _Format(Struct):
    format: int


def _read(output: Location, *, check: bool) -> Manifest | None:
    """Return the manifest; None if there is none, or without `check` also if it is unusable."""
    file = output.child(MANIFEST_NAME)
    content = file.read()
    if content is None:
        return None
    try:
        # Only the field `format` has the same meaning in every version.
        found = msgspec.json.decode(content, type=_Format).format
        manifest = msgspec.json.decode(content, type=Manifest) if found == OUTPUT_FORMAT else None
    except msgspec.MsgspecError:
        found, manifest = OUTPUT_FORMAT, None
    if manifest is not None and manifest.is_sound():
        return manifest
    if not check:
        return None
    if found != OUTPUT_FORMAT:
        raise OutputMismatch(
            "written by another version of this job",
            which=file.name,
            found=f"format {found}",
            expected=OUTPUT_FORMAT,
            cure="use that version, or " + _cure(output),
        )
    raise OutputMismatch("is damaged", which=file.name, cure=_cure(output))


def _other_settings(
    output: Location, differences: Sequence[str], *, has_answers: bool
) -> OutputMismatch:
    shown = "; ".join(differences[:_SHOWN_DIFFERENCES])
    more = len(differences) - _SHOWN_DIFFERENCES
    return OutputMismatch(
        "made with other settings or input: "
        + (shown if more <= 0 else f"{shown}; and {more} more"),
        which=output.name,
        cure=_cure(output, has_answers=has_answers),
    )


def _cure(output: Location, *, has_answers: bool = True) -> str:
    if not has_answers:
        return "--restart begins anew, or choose another OUTPUT"
    store = output.child(SCORES_FOLDER).name
    return (
        "--restart begins anew and keeps the paid answers;"
        f" another OUTPUT reuses them with --score-store {store}"
    )


def _has_parts(output: Location) -> bool:
    return any(part_index(info.base_name) is not None for info in output.children())


def _remove_results(output: Location) -> None:
    """Remove results, `_SUCCESS` first; keep the manifest, so that a crash midway is recognised."""
    output.child(SUCCESS_NAME).remove()
    for child in output.children():
        name = child.base_name
        if part_index(name) is not None or name in RESULT_FOLDERS:
            output.child(name).remove()
