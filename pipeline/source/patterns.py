"""Globs in the name of an input: `*`, `?`, `[...]`, and `**` for folders of any depth."""

import re
from collections.abc import Callable

from pipeline.core.errors import InputError
from pipeline.storage.location import Location, locate


class Pattern:
    """A glob below a folder; an empty one covers everything below it.

    A glob that matches a folder covers every path below that folder.
    """

    def __init__(self, text: str) -> None:
        self.text = text.rstrip("/")
        self._parts = self.text.split("/") if self.text else []
        self._fullmatch = _compile(f"{_translate(self.text)}(?:/.*)?" if self.text else ".*")

    def __bool__(self) -> bool:
        """Return whether it is a glob at all."""
        return bool(self.text)

    @property
    def is_one_name(self) -> bool:
        """Whether it matches names in the folder alone, not in folders below it."""
        return len(self._parts) == 1 and "**" not in self.text

    def matches(self, path: str) -> bool:
        """Return whether the glob covers a path."""
        return self._fullmatch(path) is not None

    def may_match_below(self, path: str) -> bool:
        """Return whether the glob could cover anything below a path, were it a folder."""
        parts = self._parts[: path.count("/") + 1]
        return (
            self.matches(path)
            or any("**" in part for part in parts)
            or _compile(_translate("/".join(parts)))(path) is not None
        )

    def spells_out(self, depth: int, mark: str) -> bool:
        """Return whether the names at a depth begin with a character of the glob itself."""
        fixed = self._parts[: depth + 1]
        return len(fixed) > depth and fixed[depth].startswith(mark) and "**" not in fixed


def split_pattern(name: str) -> tuple[Location, Pattern]:
    """Return the folder before the first wildcard, and the rest; without wildcards that is empty.

    If a local file or folder has exactly this name, the name is not a pattern.

    Raises:
        InputError: if a wildcard stands in a bucket's name.
    """
    scheme, mark, rest = name.rpartition("://")
    folders = rest.split("/")
    wild = next((at for at, part in enumerate(folders) if re.search(r"[*?[]", part)), None)
    if wild is None or (not mark and locate(name).exists()):
        return locate(name), Pattern("")
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
    return locate(f"{scheme}{mark}{base}"), Pattern("/".join(folders[wild:]))


def _compile(regex: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(regex, re.DOTALL).fullmatch


def _translate(pattern: str) -> str:
    """Return a glob as a regular expression."""
    wildcards = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL)
    regex = ""
    for token in tokens:
        if len(token) > 1 and token[0] == "[":
            negated = token[1] == "!"
            members = token[1 + negated : -1].replace("\\", "\\\\").replace("[", "\\[")
            regex += f"[{'^/' if negated else ''}{members}]"
        else:
            regex += wildcards.get(token) or re.escape(token)
    return regex
