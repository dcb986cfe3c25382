"""Parse the names of measures: `Name(parameter=value, ...)@cutoff`, as ir-measures writes them.

The parser of ir-measures rejects negative numbers without naming them, and uses parts of `ast` that
newer versions of Python no longer have.
"""

import ast
import difflib
from collections.abc import Iterable
from typing import Any

_MAX_LENGTH = 200


def split_name(name: str) -> tuple[str, dict[str, Any], Any]:
    """Return the bare name, the parameters, and the value after `@` or None.

    Raises:
        ValueError: if it is not such a name, or too long for one.
    """
    if len(name) > _MAX_LENGTH:
        raise ValueError("too long")
    parameters: dict[str, Any] = {}
    at = None
    try:
        node = ast.parse(name.strip(), mode="eval").body
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            at = ast.literal_eval(node.right)
            node = node.left
        if isinstance(node, ast.Call) and not node.args:
            for keyword in node.keywords:
                parameters[keyword.arg or "**"] = ast.literal_eval(keyword.value)
            node = node.func
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("not an expression") from error
    if isinstance(node, ast.Name):
        return node.id, parameters, at
    raise ValueError("not a name")


def nearest_names(name: str, base: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names similar to an unknown one, the most similar first.

    Args:
        name: The whole name.
        base: Its bare name; the rest of the name is kept.
        known: Bare names; of names that differ only in case, the last one is used.
    """
    by_lower = {other.lower(): other for other in known}
    matches = difflib.get_close_matches(base.lower(), by_lower, n=3, cutoff=0.6)
    if base.lower() in by_lower:
        matches = matches[:1]
    rest = name.strip().removeprefix(base)
    return [by_lower[match] + (rest if rest.isprintable() else "") for match in matches]
