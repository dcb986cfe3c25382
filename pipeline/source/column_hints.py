"""Suggest cures for columns that are not found; only for messages."""

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final

_OTHER_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "query_id": ("qid", "topic", "topicid"),
    "query": ("querytext", "question", "q", "title"),
    "doc_id": ("docid", "documentid", "docno", "pid", "passageid", "corpusid", "id", "did"),
    "text": ("passage", "body", "content", "contents", "document", "doctext", "chunk"),
    "first_stage_rank": ("rank", "position"),
    "first_stage_score": ("score", "bm25"),
}
_CLOSE: Final = 0.75
"""How alike two names must be, of 1."""
_BY_REFERENCE: Final = {"query": "--queries FILE", "text": "--corpus FILE"}
"""The options that supply the values that the candidates lack."""


def suggest_columns(
    roles: Iterable[str], names: Collection[str], taken: Collection[str]
) -> dict[str, str]:
    """Return the column that most likely plays each role, where one is likely.

    Args:
        roles: The roles without a column.
        names: The columns there are.
        taken: Columns that play other roles.
    """
    free = {_plain(name): name for name in names if name not in taken}
    found = {}
    for role in roles:
        likely = [other for other in (_plain(role), *_OTHER_NAMES.get(role, ())) if other in free]
        likely += get_close_matches(_plain(role), list(free), n=1, cutoff=_CLOSE)
        if likely:
            found[role] = free.pop(likely[0])
    return found


def cure_for_missing(roles: Collection[str], names: Collection[str], taken: Collection[str]) -> str:
    """Return the cure for roles without a column."""
    found = suggest_columns(roles, names, taken)
    if found:
        return "use " + " ".join(f"--column {role}={name}" for role, name in found.items())
    if _BY_REFERENCE.keys() >= {*roles}:
        options = " ".join(_BY_REFERENCE[role] for role in roles)
        return f"ids without their texts are joined with {options}"
    options = " ".join(f"--column {role}=NAME" for role in roles)
    return f"if the input has other names for them, use {options}"


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())
