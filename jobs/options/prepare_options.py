"""The options of the input: how candidates are prepared and read."""

from typing import get_args

import click

from jobs.options.help_page import option
from jobs.options.types import POSITIVE_COUNT
from pipeline.core.errors import SettingsError
from pipeline.core.preparation import PLAIN_TEMPLATE, OnMissing
from pipeline.core.settings import LayoutName

PREPARE_OPTIONS = (
    option(
        "--layout",
        type=click.Choice(get_args(LayoutName)),
        default="auto",
        show_default=True,
        section="Input",
        help="Layout of the input: a row per candidate, or a row per query with a list of them.",
    ),
    option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=SOURCE",
        section="Input",
        example=["text=passage"],
        help="Read column NAME from the input's column SOURCE; repeatable.",
    ),
    option(
        "--queries",
        metavar="FILE",
        section="Input",
        example="queries.jsonl",
        help="Texts of the queries by id, where not in INPUT.",
    ),
    option(
        "--corpus",
        metavar="FILE",
        section="Input",
        example="corpus.jsonl",
        help="Texts of the documents by id, where not in INPUT.",
    ),
    option(
        "--text-template",
        metavar="TEMPLATE",
        default=PLAIN_TEMPLATE,
        show_default=True,
        section="Input",
        help="A document's text, made of fields of the corpus: {title}\\n{text}.",
    ),
    option(
        "--missing",
        type=click.Choice(get_args(OnMissing)),
        default="error",
        show_default=True,
        section="Input",
        help="What to do if the text of a candidate or query is missing: stop, or skip it.",
    ),
    option(
        "--sort-input",
        is_flag=True,
        section="Input",
        help="Bring the rows of each query together.",
    ),
    option(
        "--limit",
        type=POSITIVE_COUNT,
        metavar="N",
        section="Input",
        example=20,
        help="Take only the first N queries.",
    ),
)


def make_columns(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the column that plays each role, where it has another name.

    Raises:
        SettingsError: for an invalid pair, and for a role that is named twice.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, source = pair.partition("=")
        if not (name and equals and source) or name in columns:
            raise SettingsError(
                "cannot be used",
                which="--column",
                found=pair,
                expected="NAME=SOURCE, each NAME once",
            )
        columns[name] = source
    return columns
