"""The options that say how candidates are made ready, and what is read of them."""

from typing import get_args

import click

from pipeline.core.errors import SettingsError
from pipeline.core.preparation import PLAIN_TEMPLATE, OnMissing
from pipeline.core.settings import LayoutName

PREPARE_OPTIONS = (
    click.option(
        "--layout",
        type=click.Choice(get_args(LayoutName)),
        default="auto",
        show_default=True,
        help="Layout of the input: a row per candidate, or a row per query with a list of them.",
    ),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=SOURCE",
        help="Read column NAME from the input's column SOURCE; repeatable.",
    ),
    click.option(
        "--queries", metavar="FILE", help="Texts of the queries by id, where not in INPUT."
    ),
    click.option(
        "--corpus", metavar="FILE", help="Texts of the documents by id, where not in INPUT."
    ),
    click.option(
        "--text-template",
        default=PLAIN_TEMPLATE,
        show_default=True,
        help="A document's text, made of fields of the corpus: {title}\\n{text}.",
    ),
    click.option(
        "--missing",
        type=click.Choice(get_args(OnMissing)),
        default="error",
        show_default=True,
        help="What to do if the text of a candidate or query is missing: stop, or skip it.",
    ),
    click.option("--sort-input", is_flag=True, help="Bring the rows of each query together."),
    click.option("--limit", type=click.IntRange(min=1), help="Take only the first N queries."),
)


def make_columns(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the column that plays each role, where it bears another name.

    Raises:
        SettingsError: for what is no pair, and for a role that is named twice.
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
