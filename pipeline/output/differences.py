"""Compare the settings and input files of an output with those of a run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace


class FileFacts(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An input file as the manifest identifies it.

    Attributes:
        path: Below the input.
        size_bytes: Its size.
        num_rows: Its rows.
        footer_digest: Digest of its Parquet footer; manifests of earlier versions have none.
    """

    path: str
    size_bytes: int
    num_rows: int
    footer_digest: str | None = None

    def is_same(self, other: "FileFacts") -> bool:
        """Return whether the two are the same file, by the facts that both have."""
        unknown = None in (self.footer_digest, other.footer_digest)
        return (replace(self, footer_digest=other.footer_digest) if unknown else self) == other


def setting_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return which settings differ, by name, with both values."""
    return [
        f"{name}: {_shown(before.get(name))} there, {_shown(now.get(name))} now"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def file_differences(before: Sequence[FileFacts], now: Sequence[FileFacts]) -> list[str]:
    """Return which input files differ, by path, and how."""
    before_files = {file.path: file for file in before}
    files_now = {file.path: file for file in now}
    found = []
    for path in sorted({*before_files, *files_now}):
        old, new = before_files.get(path), files_now.get(path)
        if old is None:
            found.append(f"input file {path}: new")
        elif new is None:
            found.append(f"input file {path}: gone")
        elif old.num_rows != new.num_rows:
            found.append(f"input file {path}: {old.num_rows} rows there, {new.num_rows} now")
        elif old.size_bytes != new.size_bytes:
            found.append(f"input file {path}: {old.size_bytes} bytes there, {new.size_bytes} now")
        elif not old.is_same(new):
            found.append(f"input file {path}: same size and rows, but written anew")
    if not found and [*before_files] != [*files_now]:
        found.append("the order of the input files")
    return found


def _shown(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False).strip('"')
