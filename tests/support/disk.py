"""What a process makes the disk keep, so that it survives a power cut."""

import os
from pathlib import Path

import pytest


def sync_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes | list[str]]]:
    """Return a list that takes each call of fsync: the path, and what was there at that moment.

    That is the content of a file, or the names in a folder that do not begin with a dot.
    """
    calls: list[tuple[str, bytes | list[str]]] = []
    fsync = os.fsync

    def recorded(file: int) -> None:
        fsync(file)
        path = Path(f"/proc/self/fd/{file}").readlink()
        if path.is_dir():
            names = sorted(entry.name for entry in path.iterdir())
            calls.append((str(path), [name for name in names if not name.startswith(".")]))
        else:
            calls.append((str(path), path.read_bytes()))

    monkeypatch.setattr(os, "fsync", recorded)
    return calls
