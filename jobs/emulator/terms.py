"""Terms of a text in any script, for matching query and document.

Words of spaced scripts are case-folded and truncated to six characters, so that `batteries` matches
`battery`. Arabic words lose their article and conjunction. Scripts without spaces, and Hangul for
its particles, become pairs of neighbouring characters.
"""

import re
import unicodedata
from functools import lru_cache

STEM_CHARACTERS = (
    6  # nDCG@10 of 4, 5, 6, 7 on XQuAD-R: .765 .766 .762 .756, on SciFact .638 .628 .645 .647
)

# Thai and Lao, Burmese, Khmer, kana, CJK ideographs, Hangul
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
# of Latin, Hebrew, Arabic, and the Indic scripts without their full stops
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_RUNS = re.compile(
    f"[{_UNSPACED}\U00020000-\U0003ffff]+|(?:(?![{_UNSPACED}\U00020000-\U0003ffff_])[\\w{_MARKS}])+"
)
_IS_UNSPACED = re.compile(f"[{_UNSPACED}\U00020000-\U0003ffff]").match
_ASCII_WORDS = re.compile("[a-z0-9]+")

_ARABIC_MARKS = re.compile("[\u0610-\u061a\u064b-\u065f\u0670\u0640]")
_ARABIC_PREFIX = re.compile("(?:[وفبكل]?ال|لل|[وف])(?=\\w{3})")
_ARABIC_LETTERS = str.maketrans("أإآىة", "ااايه")


def words(text: str) -> list[str]:
    """Return the words of a text in order, case-folded; for unspaced scripts, character pairs."""
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    folded = unicodedata.normalize("NFKC", text).casefold()
    found: list[str] = []
    for run in _RUNS.findall(folded):
        if _IS_UNSPACED(run):
            found.extend(run[i : i + 2] for i in range(max(1, len(run) - 1)))
        else:
            found.append(run)
    return found


@lru_cache(maxsize=1 << 17)
def stem(word: str) -> str:
    """Return approximately the part that the inflected forms of a word share."""
    if "\u0600" <= word[0] <= "\u06ff":
        bare = _ARABIC_MARKS.sub("", word).translate(_ARABIC_LETTERS)
        word = _ARABIC_PREFIX.sub("", bare, count=1) if _ARABIC_PREFIX.match(bare) else bare
    return word[:STEM_CHARACTERS]


def is_spaced(word: str) -> bool:
    """Return whether the word's script separates words by blanks."""
    return not _IS_UNSPACED(word)
