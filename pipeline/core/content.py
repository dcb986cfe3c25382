"""The contents that are scored: texts, images and videos.

A text is a plain `str`: nearly everything is text, and a wrapper would cost as much as the rest of
its planning. An image is given by its URL or by its bytes, a video by its URL. Contents are values:
they compare by what they hold. `content_hash` orders them, the same in every run; it is quick, but
an author of documents can construct two with the same hash. `digest` names what is paid for: nobody
can construct two with the same digest.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import orjson
from blake3 import blake3
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from pipeline.core.errors import SettingsError
from pipeline.core.media_types import media_type_of


class Image(Struct, frozen=True, kw_only=True):
    """An image: either its URL, or its bytes and their media type.

    Attributes:
        url: Where the service fetches it.
        data: The file's bytes, as encoded by its format.
        media_type: The format of `data`, such as `image/png`.

    Raises:
        ValueError: if it has both a URL and bytes, or neither, or bytes of no media type.
    """

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        """Check that exactly one source is given."""
        if (self.url is None) == (self.data is None):
            raise ValueError("an image has either a URL or bytes")
        if (self.data is None) != (self.media_type is None):
            raise ValueError("an image has a media type if it is given as bytes, else none")


class Video(Struct, frozen=True):
    """A video, which the service fetches from its URL."""

    url: str


Content: TypeAlias = str | Image | Video

ContentKind: TypeAlias = Literal["text", "image", "video"]

TEXT_ONLY: Final[frozenset[ContentKind]] = frozenset({"text"})
"""Kinds of content that a service for texts accepts."""

EVERY_KIND: Final[frozenset[ContentKind]] = frozenset({"text", "image", "video"})
"""Kinds of content that a multimodal service accepts."""

DIGEST_BYTES: Final = 24
"""Of BLAKE3. Finding two contents with the same digest takes some 2^96 hashes."""

_DATA_URL_HEAD: Final = re.compile(r"data:[^,]*;base64", re.IGNORECASE)

_NOT_TEXT: Final = b"\xff"
"""Occurs in no UTF-8 text, so no text has the identity of another content."""


def kind_of(content: Content) -> ContentKind:
    """Return the kind of a content."""
    if isinstance(content, str):
        return "text"
    return "image" if isinstance(content, Image) else "video"


def identity(content: Content) -> bytes:
    """Return bytes that differ for different contents; for a text, its UTF-8."""
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, Video):
        return b"%bvideo-url\0%b" % (_NOT_TEXT, content.url.encode())
    if content.data is None:
        return b"%bimage-url\0%b" % (_NOT_TEXT, (content.url or "").encode())
    media_type = (content.media_type or "").encode()
    return b"%bimage-data\0%b\0%b" % (_NOT_TEXT, media_type, content.data)


def content_hash(content: Content) -> int:
    """Return the 64-bit hash of a content: XXH3 of its `identity`.

    Equal hashes can be constructed on purpose, so compare the contents where the hashes are equal.
    """
    return xxh3_64_intdigest(identity(content))


def digest(content: bytes) -> bytes:
    """Return the 24 bytes that name these bytes and no others."""
    return blake3(content).digest(length=DIGEST_BYTES)


def is_blank(content: Content | None) -> bool:
    """Return whether there is nothing to score: None, or a text of white space only."""
    return content is None or (isinstance(content, str) and not content.strip())


def image_of_bytes(data: bytes) -> Image:
    """Return the image in a file.

    Raises:
        ValueError: if its format is not accepted.
    """
    media_type = media_type_of(data)
    if media_type is None:
        raise ValueError("not an image of an accepted format")
    return Image(data=data, media_type=media_type)


def image_of_url(url: str) -> Image:
    """Return the image at an address, or the one that a data URL holds.

    Raises:
        ValueError: for a data URL that holds no image of an accepted format.
    """
    if not url[:5].lower() == "data:":
        return Image(url=url)
    head, comma, data = url.partition(",")
    if not comma or not _DATA_URL_HEAD.fullmatch(head):
        raise ValueError("a data URL without base64")
    try:
        return image_of_bytes(b64decode(data, validate=True))
    except binascii.Error:
        raise ValueError("a data URL without base64") from None


def media_content(
    url: str | None, data: bytes | None, video: str | None = None
) -> Image | Video | None:
    """Return the image or the video that one of these is; None if all are null.

    Args:
        url: The image's URL, which may be a data URL.
        data: The image's file.
        video: The video's URL.

    Raises:
        ValueError: for data that is no image of an accepted format.
    """
    if data is not None:
        return image_of_bytes(data)
    if url is not None:
        return image_of_url(url)
    return None if video is None else Video(video)


def value_or_url(content: Content) -> str:
    """Return the form of a content in a request: the text, a URL, or a data URL."""
    if isinstance(content, Image) and content.data is not None:
        return f"data:{content.media_type};base64,{b64encode(content.data).decode()}"
    return text_or_url(content)


def text_or_url(content: Content) -> str:
    """Return the string of a content that a service may repeat in a message; "" for bytes."""
    return content if isinstance(content, str) else content.url or ""


def json_bytes(content: Content) -> int:
    """Return the bytes that a content takes in a JSON body; an image's data as a data URL."""
    if isinstance(content, Image) and content.data is not None:
        base64_bytes = -(-len(content.data) // 3) * 4
        return len(f'"data:{content.media_type};base64,"') + base64_bytes
    return len(orjson.dumps(text_or_url(content)))


def require_accepted(
    contents: Iterable[Content], accepted: frozenset[ContentKind], *, model: str
) -> None:
    """Check that a model accepts the kinds of all contents.

    Raises:
        SettingsError: for the first content of another kind.
    """
    for content in contents:
        kind = kind_of(content)
        if kind not in accepted:
            raise SettingsError(
                "the model does not accept this kind of content",
                which=f"--model {model}",
                found=kind,
                expected=" or ".join(sorted(accepted)),
                cure="choose a multimodal --model, or leave out the columns of images and videos",
            )
