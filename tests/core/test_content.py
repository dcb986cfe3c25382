"""Texts, images and videos as values: their identity, their size, and what accepts them."""

from base64 import b64encode

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import png
from xxhash import xxh3_64_intdigest

from pipeline.core.content import (
    TEXT_ONLY,
    Content,
    Image,
    Video,
    content_hash,
    identity,
    image_of_bytes,
    image_of_url,
    is_blank,
    json_bytes,
    kind_of,
    require_accepted,
    text_or_url,
    value_or_url,
)
from pipeline.core.errors import SettingsError

media_types = st.sampled_from(["image/png", "image/jpeg"])
texts = st.text(max_size=6)
contents = st.one_of(
    texts,
    st.builds(lambda url: Image(url=url), texts),
    st.builds(lambda data, kind: Image(data=data, media_type=kind), st.binary(), media_types),
    st.builds(Video, texts),
)

unhurried = settings(deadline=None)


@unhurried
@given(st.lists(contents, max_size=8))
def test_different_contents_have_different_identities(some: list[Content]) -> None:
    assert len({identity(content) for content in some}) == len(set(some))


@unhurried
@given(st.lists(contents, max_size=8))
def test_different_contents_have_different_hashes(some: list[Content]) -> None:
    assert len({content_hash(content) for content in some}) == len(set(some))


@unhurried
@given(st.text())
def test_a_text_is_hashed_by_its_utf_8(text: str) -> None:
    assert content_hash(text) == xxh3_64_intdigest(text.encode())


def test_one_url_names_different_contents_as_text_image_and_video() -> None:
    url = "https://example.org/a"

    assert len({content_hash(content) for content in (url, Image(url=url), Video(url))}) == 3


@unhurried
@given(contents.filter(lambda content: not is_blank(content)))
def test_the_size_in_a_body_is_that_of_what_is_sent(content: Content) -> None:
    assert json_bytes(content) == len(orjson.dumps(value_or_url(content)))


def test_a_data_url_is_the_image_that_it_holds() -> None:
    image = image_of_bytes(png("tent"))

    assert image_of_url(value_or_url(image)) == image
    assert image_of_url(value_or_url(image).replace("data:", "DATA:")) == image


@pytest.mark.parametrize(
    "url", ["data:image/png,abc", "data:image/png;base64,%%%", "data:image/png;base64", "data:"]
)
def test_a_data_url_without_an_image_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="data URL"):
        image_of_url(url)


def test_a_file_of_another_format_is_no_image() -> None:
    with pytest.raises(ValueError, match="accepted format"):
        image_of_bytes(b"GIF89a")


def test_blank_is_nothing_or_white_space() -> None:
    assert [is_blank(one) for one in (None, "", " \n", "a", Video("v"))] == [True] * 3 + [False] * 2


def test_the_media_type_is_part_of_an_image() -> None:
    png, jpeg = (Image(data=b"..", media_type=f"image/{name}") for name in ("png", "jpeg"))

    assert content_hash(png) != content_hash(jpeg)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"url": "u", "data": b"d", "media_type": "image/png"},
        {"data": b"d"},
        {"url": "u", "media_type": "image/png"},
    ],
)
def test_an_image_has_either_a_url_or_bytes_of_a_media_type(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="an image has"):
        Image(**parts)


@unhurried
@given(contents)
def test_the_size_is_that_of_the_content_in_a_json_body(content: Content) -> None:
    value = text_or_url(content)
    if isinstance(content, Image) and content.data is not None:
        value = f"data:{content.media_type};base64,{b64encode(content.data).decode()}"

    assert json_bytes(content) == len(orjson.dumps(value))


def test_texts_are_accepted_by_a_service_of_texts() -> None:
    require_accepted(["query", "text"], TEXT_ONLY, model="m")


@pytest.mark.parametrize("content", [Image(url="https://example.org/a"), Video("v")])
def test_another_kind_of_content_is_refused_with_the_model_and_the_cure(content: Content) -> None:
    with pytest.raises(SettingsError) as raised:
        require_accepted(["query", content], TEXT_ONLY, model="qwen3-rerank")

    message = str(raised.value)
    assert "--model qwen3-rerank" in message
    assert f"found {kind_of(content)}, expected text" in message
    assert "example.org" not in message


def test_a_multimodal_service_accepts_images() -> None:
    image = Image(data=b"..", media_type="image/png")

    require_accepted(["query", image], frozenset({"text", "image"}), model="m")
