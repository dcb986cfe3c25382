"""Globs in the name of an input: `*`, `?`, `[...]`, and `**` for folders of any depth."""

import re
from collections.abc import Callable

from pipeline.core.errors import InputError
from pipeline.storage.location import Location, locate


def split_pattern(name: str) -> tuple[Location, str]:
    """Return the folder before the first wildcard, and the rest; without wildcards that is empty.

    If a local file or folder has exactly this name, the name is not a pattern.

    Raises:
        InputError: if a wildcard stands in a bucket's name.
    """
    scheme, mark, rest = name.rpartition("://")
    folders = rest.split("/")
    wild = next((at for at, part in enumerate(folders) if re.search(r"[*?[]", part)), None)
    if wild is None or (not mark and locate(name).exists()):
        return locate(name), ""
    base = "/".join(folders[:wild])
    if not base and mark:
        raise InputError(
            "a wildcard cannot stand for a bucket",
            which=name,
            found=folders[0],
            cure=f"name the bucket: {scheme}://BUCKET/...",
        )
    if not base:
        base = "/" if rest.startswith("/") else "."
    return locate(f"{scheme}{mark}{base}"), "/".join(folders[wild:])


def path_matcher(pattern: str) -> Callable[[str], object]:
    """Return a function that says whether a path matches.

    A pattern that matches a folder matches every path below it; an empty one matches every path.
    """
    regex = _translate(pattern) + "(?:/.*)?" if pattern else ".*"
    return re.compile(regex, re.DOTALL).fullmatch


def _translate(pattern: str) -> str:
    """Return a glob as a regular expression."""
    wildcards = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern.rstrip("/"), re.DOTALL)
    regex = ""
    for token in tokens:
        if len(token) > 1 and token[0] == "[":
            negated = token[1] == "!"
            members = token[1 + negated : -1].replace("\\", "\\\\").replace("[", "\\[")
            regex += f"[{'^/' if negated else ''}{members}]"
        else:
            regex += wildcards.get(token) or re.escape(token)
    return regex
