"""One of several shares of an input, each of which is reranked by a run of its own."""

import re

from msgspec import Struct

from pipeline.core.errors import SettingsError

_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)


class Shard(Struct, frozen=True):
    """Shard `index`, from 1 to `count`."""

    index: int
    count: int

    def __str__(self) -> str:
        """Return it as `--shard` takes it."""
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that `I/N` names.

        Raises:
            SettingsError: if the text is not of this form, or if there is no such shard.
        """
        match = _FORM.fullmatch(text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise SettingsError(
                "no such shard", which="--shard", found=text, expected="I/N, I from 1 to N"
            )
        return shard
