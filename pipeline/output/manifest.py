"""What an output folder is, and whether this run may continue it.

`_manifest.json` holds the settings and the input that the output was begun with. A run over others
is refused by the names of what differs. Each run leaves its own record in `_runs/`, kept up to date
while it goes on.

Everything here blocks on files: call it in a thread.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from msgspec import Struct

from pipeline.core.errors import OutputMismatch
from pipeline.core.settings import OUTPUT_FORMAT, fingerprint
from pipeline.output.run_records import RUNS_FOLDER
from pipeline.storage.location import Location

MANIFEST_NAME = "_manifest.json"
SUCCESS_NAME = "_SUCCESS"
PART_PREFIX, PART_SUFFIX = "part-", ".parquet"
RESULT_FOLDERS = ("_groups", "_rejects")

FileFacts: TypeAlias = Mapping[str, str | int]
"""`path`, `size_bytes` and `num_rows` of an input file."""

_SHOWN_DIFFERENCES = 4
_RESTART = "--restart begins anew, or choose another OUTPUT (the score store still serves)"


class Manifest(Struct, frozen=True):
    """What an output was begun with.

    Attributes:
        settings: What changes the output, by name (`RunSettings.output_settings()`).
        input_files: The input's files, in reading order.
        fingerprint: A short name of both.
        created: When it was begun, or begun anew, in UTC; the same for every run on it.
    """

    settings: Mapping[str, Any]
    input_files: Sequence[FileFacts]
    fingerprint: str
    created: datetime


def check_or_create(
    output: Location,
    settings: Mapping[str, Any],
    input_files: Sequence[FileFacts],
    *,
    restart: bool = False,
) -> Manifest:
    """Make sure that the output belongs to these settings and this input; begin it if it is new.

    Call it while holding the `OutputLock`: half-written files of killed runs are removed here.
    `restart` removes the results of other settings or input, and keeps scores and run records.

    Raises:
        OutputMismatch: if it belongs to others, or is not an output of this job.
        OutputFailed: if it cannot be read or written.
    """
    manifest = _manifest(settings, input_files, datetime.now(UTC))
    there = _read(output, any_format=restart)
    if there is None:
        refuse_foreign(output)
    elif restart:
        _remove_results(output)
    else:
        _refuse_differences(output, there, manifest)
        manifest = there
    if there is None or restart:
        output.make_folder()
        output.child(MANIFEST_NAME).publish(_encoded(manifest))
    for folder in (output, *map(output.child, (*RESULT_FOLDERS, RUNS_FOLDER))):
        folder.remove_unfinished()
    return manifest


def read_manifest(output: Location) -> Manifest | None:
    """What the output was begun with; None where there is none.

    Raises:
        OutputMismatch: if the manifest is damaged or of a newer format.
    """
    return _read(output)


def _manifest(
    settings: Mapping[str, Any], input_files: Sequence[FileFacts], created: datetime
) -> Manifest:
    # As they come back from JSON: a tuple is a list there.
    facts = json.loads(json.dumps({"settings": settings, "input": input_files}))
    return Manifest(facts["settings"], facts["input"], fingerprint(facts), created)


def _encoded(manifest: Manifest) -> bytes:
    content = {
        "format": OUTPUT_FORMAT,
        "fingerprint": manifest.fingerprint,
        "settings": manifest.settings,
        "input": manifest.input_files,
        "created": manifest.created.isoformat(timespec="microseconds"),
    }
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def _read(output: Location, *, any_format: bool = False) -> Manifest | None:
    file = output.child(MANIFEST_NAME)
    content = file.read()
    if content is None:
        return None
    try:
        fields = json.loads(content)
        if fields["format"] != OUTPUT_FORMAT and not any_format:
            raise OutputMismatch(
                "written by another version of this job",
                which=file.name,
                found=f"format {fields['format']}",
                expected=OUTPUT_FORMAT,
                cure="use that version, or " + _RESTART,
            )
        created = datetime.fromisoformat(fields["created"]).astimezone(UTC)
        manifest = _manifest(fields["settings"], fields["input"], created)
        sound = manifest.fingerprint == fields["fingerprint"]
    except (ValueError, KeyError, TypeError):
        manifest, sound = Manifest({}, (), "", datetime.min.replace(tzinfo=UTC)), False
    if not sound and not any_format:
        raise OutputMismatch("is damaged", which=file.name, cure=_RESTART)
    return manifest


def refuse_foreign(output: Location) -> None:
    """Never mix with, or remove, what another program wrote: for an output without a manifest.

    Raises:
        OutputMismatch: if it is a file, or a folder with other files.
    """
    if output.size_bytes() is not None:
        raise OutputMismatch(
            "is a file", which=output.name, expected="a folder", cure="choose another OUTPUT"
        )
    # What this job leaves before and beside a manifest begins with "_" or ".".
    foreign = [c.base_name for c in output.children() if not c.base_name.startswith(("_", "."))]
    if foreign:
        raise OutputMismatch(
            "not an output of this job: no _manifest.json, but other files",
            which=output.name,
            found=", ".join(foreign[:_SHOWN_DIFFERENCES]),
            cure="choose an empty folder as OUTPUT",
        )


def _refuse_differences(output: Location, there: Manifest, now: Manifest) -> None:
    differences = _differences(there, now)
    if differences:
        raise OutputMismatch(
            f"made with other settings or input: {_shown(differences)}",
            which=output.name,
            cure=_RESTART,
        )


def _remove_results(output: Location) -> None:
    """Remove results, `_SUCCESS` first; the manifest stays, so that a crash here is no riddle."""
    output.child(SUCCESS_NAME).remove()
    for child in output.children():
        name = child.base_name
        is_part = name.startswith(PART_PREFIX) and name.endswith(PART_SUFFIX)
        if is_part or name in RESULT_FOLDERS:
            output.child(name).remove()


def _differences(there: Manifest, now: Manifest) -> list[str]:
    """What differs, by name: settings first, then files."""
    found = []
    for name in sorted({*there.settings, *now.settings}):
        before, after = there.settings.get(name), now.settings.get(name)
        if before != after:
            found.append(f"{name}: {_value(before)} there, {_value(after)} now")
    before_files = {file["path"]: file for file in there.input_files}
    after_files = {file["path"]: file for file in now.input_files}
    for path in sorted({*before_files, *after_files}, key=str):
        old, new = before_files.get(path), after_files.get(path)
        if old is None:
            found.append(f"input file {path}: new")
        elif new is None:
            found.append(f"input file {path}: gone")
        else:
            found += [
                f"input file {path}: {old[name]} {unit} there, {new[name]} now"
                for name, unit in (("num_rows", "rows"), ("size_bytes", "bytes"))
                if old[name] != new[name]
            ][:1]
    if not found and list(there.input_files) != list(now.input_files):
        found.append("the order of the input files")
    return found


def _value(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False).strip('"')


def _shown(differences: Sequence[str]) -> str:
    shown = "; ".join(differences[:_SHOWN_DIFFERENCES])
    more = len(differences) - _SHOWN_DIFFERENCES
    return shown if more <= 0 else f"{shown}; and {more} more"
