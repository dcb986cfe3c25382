"""No message of a service shows the key or a text of the request, in any spelling."""

import html
import json
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.client_bench import request_of
from support.pictures import png

from pipeline.core.content import Image, Video, image_of_bytes
from pipeline.service.wire.redaction import WITHHELD, Redactor
from pipeline.service.wire.spelling import fold, spellings

SECRET = "the patient of room twelve is called Erika Mustermann"
KEY = "sk-9fA+Qz7/Lw3x_TvB==pYc-rK2m"

PIECES = (
    "tent |Straße |İstanbul |ılık |ὀδυσσεύς |naïve |한국어 |東京都庁|ไทย |Привет, |🏕️|é|e\u0301|ﬁn "
    '|5 < 6 |a&b |"so" |C:\\new |1+1 |path/to?q=1 |x\ny |50% |don\'t |I am |𝔸'
)
TEXTS = st.lists(st.sampled_from(PIECES.split("|")), min_size=12, max_size=30).map("".join)


def json_escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def json_unicode(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def every_character_escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def decimal_entities(text: str) -> str:
    return "".join(f"&#{ord(character)};" for character in text)


def hexadecimal_entities(text: str) -> str:
    return "".join(f"&#X{ord(character):x};" for character in text)


def python_escaped(text: str) -> str:
    return repr(text.encode())[2:-1]


def line_folded(text: str) -> str:
    return "\r\n ".join(text[at : at + 7] for at in range(0, len(text), 7))


def in_colours(text: str) -> str:
    return "\x1b[1m".join(text[at : at + 5] for at in range(0, len(text), 5))


def with_invisible_characters(text: str) -> str:
    return "\u202e\u200b\x00".join(text[at : at + 5] for at in range(0, len(text), 5))


ENCODINGS: list[Callable[[str], str]] = [
    str,
    json_escaped,
    json_unicode,
    every_character_escaped,
    html.escape,
    decimal_entities,
    hexadecimal_entities,
    quote,
    quote_plus,
    lambda text: quote(text).lower(),
    python_escaped,
]
CASES = [str, str.upper, str.lower, str.swapcase]
FORMS = ["NFC", "NFD", "NFKC", "NFKD"]
LAYOUTS = [str, line_folded, in_colours, with_invisible_characters]


@st.composite
def encoders(draw: st.DrawFn) -> Callable[[str], str]:
    """Change the case and the normal form, escape in one or two ways, and lay out."""
    change_case = draw(st.sampled_from(CASES))
    form = draw(st.sampled_from(FORMS))
    steps = draw(st.lists(st.sampled_from(ENCODINGS), min_size=1, max_size=2))
    layout = draw(st.sampled_from(LAYOUTS))

    def encode(text: str) -> str:
        text = unicodedata.normalize(form, change_case(text))
        for step in steps:
            text = step(text)
        return layout(text)

    return encode


def is_evident(text: str) -> bool:
    """Whether a text has so many characters without blanks, its own escapes resolved."""
    return len(fold(spellings(text)[-1])) >= 15


@given(
    text=TEXTS,
    data=st.data(),
    encode=encoders(),
    before=st.text(max_size=40),
    after=st.text(max_size=40),
)
def test_24_characters_of_a_text_are_found_at_any_offset_in_any_encoding(
    text, data, encode, before, after
) -> None:
    start = data.draw(st.integers(0, len(text) - 24))
    echo = text[start : data.draw(st.integers(start + 24, len(text)))]

    if is_evident(echo):
        message = f"{before}|{encode(echo)}|{after}"
        shown = Redactor(None).message(message, request_of("other", text))
        assert shown == WITHHELD


@given(
    start=st.integers(0, len(KEY) - 8),
    size=st.integers(8, len(KEY)),
    encode=encoders(),
    before=st.text(max_size=40),
    after=st.text(max_size=40),
)
@example(start=0, size=8, encode=str, before="x" * 190, after="")
def test_8_characters_of_the_key_are_found_at_any_offset_in_any_encoding(
    start, size, encode, before, after
) -> None:
    message = f"{before}|{encode(KEY[start : start + size])}|{after}"

    assert Redactor(KEY).message(message, request_of("a")) == WITHHELD


@pytest.mark.parametrize("encode", ENCODINGS)
def test_a_text_that_holds_escapes_is_found(encode) -> None:
    text = r"the path C:\new of %41 &lt; \u0041 is not for everybody"

    assert Redactor(None).message(encode(text[9:]), request_of(text)) == WITHHELD


@pytest.mark.parametrize(
    "message",
    [
        f"cannot read {SECRET}",
        f"cannot read {SECRET[:30]}",
        f"cannot read {SECRET.replace(' ', chr(10))}",
        "a query of: cats?",
        "a query of: &quot;CATS?&quot;",
        "key sk-123 is wrong",
    ],
)
def test_a_message_that_repeats_the_request_or_the_key_is_withheld(message) -> None:
    request = request_of("other", SECRET, query="cats?")

    assert Redactor("sk-123").message(message, request) == WITHHELD


def test_a_key_that_is_cut_by_the_limit_of_a_message_is_found() -> None:
    assert Redactor(KEY).message("x" * 295 + KEY, request_of("a")) == WITHHELD


@pytest.mark.parametrize(
    "message",
    [
        "batch size of documents is invalid",
        "the content is at 100%, and the rate is 5\\s",
        "<b>no</b> &amp; 50%",
    ],
)
def test_other_messages_are_shown(message) -> None:
    request = request_of("a", "ü", "tent", SECRET, query="on")

    assert Redactor(KEY).message(message, request) == message


def test_control_characters_are_not_shown() -> None:
    message = "\x1b[2J\x1b]0;title\x07bad\x9b31m \u202egnp.exe\x00\r\x85\x1bc"

    shown = Redactor(None).message(message, request_of("a"))

    assert shown == "0;title\ufffdbad \ufffdgnp.exe\ufffd\ufffd\ufffd"
    assert shown.replace("\ufffd", "").isprintable()


@pytest.mark.parametrize(
    ("response_id", "kept"),
    [
        ("9f86d081-884c-7d65-9a2f-eaa0c55ad015", True),
        ("rerank-1a2B_c:3", True),
        ("", False),
        ("two words", False),
        (KEY[3:8] + "\n", False),
        ("x" * 100, False),
        ("req-abcdef0123456", False),
        ("abcdef0123456", False),
        ("the-serial-number-of-patient-12", False),
    ],
)
def test_the_name_of_an_answer_is_kept_if_it_repeats_nothing(response_id, kept) -> None:
    request = request_of("the-serial-number-of-patient-12345")

    assert bool(Redactor("key-abcdef0123").response_id(response_id, request)) is kept


@pytest.mark.parametrize("name", ["stub", "4f2a9c1e-88aa", "rerank-4f2a9c1e88aa4f2a", "id_12"])
def test_ids_as_services_give_them_are_kept(name: str) -> None:
    assert Redactor("sk-abcdefgh12345678").response_id(name, request_of("some text")) == name


@pytest.mark.parametrize("name", ["CheapHikingTentsForTwo", "sk-abcdefgh12345678", "two words"])
def test_an_id_that_repeats_the_request_or_the_key_is_dropped(name: str) -> None:
    request = request_of("cheap hiking tents for two")
    assert Redactor("sk-abcdefgh12345678").response_id(name, request) == ""


@given(
    key=st.text("abcdefghABCDEF0123456789-_", min_size=1, max_size=24),
    before=st.text("0123456789abcdefABCDEF-", max_size=12),
    start=st.integers(0, 24),
    after=st.text("0123456789abcdefABCDEF-", max_size=12),
)
@example(key="key-abcdef0123", before="", start=4, after="")
def test_a_plain_id_is_one_that_is_kept(key: str, before: str, start: int, after: str) -> None:
    redactor = Redactor(key)
    name = f"{before}{key[start:].upper()}{after}"

    if redactor.is_plain_id(name):
        assert redactor.response_id(name, request_of("some text")) == name


def test_a_number_is_a_plain_id_unless_it_repeats_the_key() -> None:
    redactor = Redactor("key-abcdef0123")

    assert redactor.is_plain_id("4f1c0a3e-7d52-4b0e-9d1f-2a6c8e5b7f90")
    assert not redactor.is_plain_id("4f1c0a3e-ABCDEF01-9d1f")
    assert not redactor.is_plain_id("rerank-4f1c0a3e")
    assert not redactor.is_plain_id("")


URL = "https://pictures.example/tents/red.png?Expires=1&Signature=qhX7%2BsecretOfTheUrl%3D"
FILE = png("a red tent by the river", size=(40, 40))


@pytest.mark.parametrize(
    "said",
    [
        URL,
        URL.partition("?")[2],
        quote(URL),
        URL[8:60],
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg",
        b64encode(FILE).decode()[30:80],
        json_escaped(b64encode(FILE).decode()[10:70]),
        "DATA:image/jpeg;BASE64,",
    ],
)
def test_no_message_repeats_a_url_or_a_file(said: str) -> None:
    request = request_of(image_of_bytes(FILE), Video(URL), query=Image(url=URL))

    assert Redactor(KEY).message(f"cannot read {said} of item 3", request) == WITHHELD


def test_what_repeats_nothing_is_shown_for_pictures_too() -> None:
    message = "Unable to download the media resource, item 3"

    assert Redactor(KEY).message(message, request_of(Image(url=URL))) == message
