"""Render the page: one HTML file that holds its style and its drawings, and calls no address."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.report import words
from pipeline.report.chart import missing_extra

_HERE: Final = Path(__file__).parent
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PICTURES: Final = 0x2400
"""Unicode has a visible symbol for each C0 control character, in their order from here on."""


def render(template: str, facts: Mapping[str, Any]) -> str:
    """Return a page.

    Every value is escaped, but for drawings and the style, which are ours.

    Args:
        template: The file that says how it looks.
        facts: What the template shows, by name.

    Raises:
        SettingsError: without the extra `report`.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise missing_extra() from error
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": plain,
        "figure": words.figure,
        "count": words.count,
    }
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, **facts)


def plain(text: str, most: int) -> str:
    """Return a foreign text in one line, shortened, control characters as visible symbols.

    Marks of direction stay: the page isolates each text, so they end with it.
    """
    one_line = re.sub(r"[\t\n\r ]+", " ", text[: 4 * most])
    return words.shorten(_CONTROLS.sub(_picture, one_line), most)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    return "\u2421" if code == 0x7F else "\ufffd"
