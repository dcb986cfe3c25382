"""The name of every file and folder of an output; names that begin with `_` are not results."""

import re

_PART_NAME = re.compile(r"part-(\d{5,})\.parquet")

GROUPS_FOLDER = "_groups"
"""A file per part: a row per query."""
REJECTS_FOLDER = "_rejects"
"""A file per part that has any: a row per candidate without a score."""
SCORES_FOLDER = "_scores"
"""The score store, unless it is kept elsewhere."""
RUNS_FOLDER = "_runs"
"""A record of each run."""
PREPARED_FOLDER = "_prepared"
"""Input that was joined, converted or sorted for the run."""
LOCKS_FOLDER = "_locks"
"""A lock for each shard, beside that of a whole run."""
LOADS_FOLDER = "_loads"
"""Records of loads into other systems, and of exports."""

MANIFEST_NAME = "_manifest.json"
PACE_NAME = "_pace.json"
REPORT_NAME = "_report.html"
LOCK_NAME = "_lock"
SHARDS_NAME = "_shards.json"
"""The plan that the shards of an output share; removed by the commit."""
SUCCESS_NAME = "_SUCCESS"

RESULT_FOLDERS = (GROUPS_FOLDER, REJECTS_FOLDER)
"""Folders that belong to the parts and are removed with them."""


def part_name(index: int) -> str:
    """Return the file name of a part, of its groups and of its rejects."""
    return f"part-{index:05d}.parquet"


def part_index(name: str) -> int | None:
    """Return the number of the part whose file has this name; None for any other file."""
    match = _PART_NAME.fullmatch(name)
    return None if match is None else int(match[1])


def is_hidden(name: str) -> bool:
    """Return whether readers of a folder skip a file or folder of this name."""
    return name.startswith(("_", "."))
