"""Images and videos in the emulator: which it accepts, and the words that it reads in them.

Formats and limits: alibabacloud.com/help/en/model-studio/, page `text-rerank-api` (June 2026). The
wording of the refusals follows page `error-messages`; that for a URL which cannot be fetched is the
one published for data inspection. Nothing is fetched: a URL is read by its words, an image by the
`Description` in its PNG file, and a host under `.invalid` counts as one that cannot be reached.
"""

import re
import struct
from typing import Final
from urllib.parse import unquote, urlsplit

from jobs.emulator import refusals
from pipeline.core.content import Image, Video, image_of_url
from pipeline.core.media_types import FORMATS
from pipeline.core.models import ModelProfile
from pipeline.planning.media_measures import media_tokens

MAX_IMAGE_BYTES: Final = 10 * 2**20
"""Of a file in a data URL; the page gives no limit but that of the body."""
URL_IMAGE_TOKENS: Final = 1_000
_PNG_TEXT: Final = re.compile(rb"(?s)(....)tEXtDescription\0")
_WORDS: Final = re.compile(r"[^\W_]+")


def check_kinds(kinds: list[str], profile: ModelProfile) -> None:
    """Refuse more images or videos than a request may hold.

    Raises:
        Refusal: naming the kind.
    """
    for kind, most in (("image", profile.max_images), ("video", profile.max_videos)):
        if kinds.count(kind) > most:
            raise refusals.too_many_of_kind(kind, most)


def check_address(kind: str, url: str, path: str) -> None:
    """Refuse what the service would not fetch or read.

    Raises:
        Refusal: for a local path, a file of another format or too large, and a URL that cannot be
            reached.
    """
    if kind == "image" and url.startswith("data:"):
        try:
            image = image_of_url(url)
        except ValueError:
            raise refusals.unreadable_media(path, FORMATS) from None
        if len(image.data or b"") > MAX_IMAGE_BYTES:
            raise refusals.huge_media(path, MAX_IMAGE_BYTES)
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        raise refusals.invalid_value(f"url error, please check url! {path}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refusals.invalid_value(f"url error, please check url! {path}")
    if parts.hostname.endswith(".invalid"):
        raise refusals.unreachable_media(path)


def tokens_of(kind: str, url: str) -> int:
    """Return the tokens of an image or a video; at a URL always the same number."""
    if kind == "video":
        return media_tokens(Video(url))
    image = image_of_url(url)
    return URL_IMAGE_TOKENS if image.data is None else media_tokens(image)


def words_of(url: str) -> str:
    """Return the words that are read in an image or a video."""
    if not url.startswith("data:"):
        return " ".join(_WORDS.findall(unquote(urlsplit(url).path)))
    image: Image = image_of_url(url)
    found = _PNG_TEXT.search(image.data or b"")
    if found is None:
        return ""
    (length,) = struct.unpack(">I", found[1])
    start = found.end()
    return (image.data or b"")[start : start + length - len(b"Description\0")].decode("latin-1")
