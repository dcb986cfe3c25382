"""How candidates are prepared before they are ranked: joined with their texts, sorted."""

from string import Formatter
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from pipeline.core.errors import SettingsError

OnMissing: TypeAlias = Literal["error", "skip"]
"""What to do with candidates whose text or query is in no file."""

PLAIN_TEMPLATE = "{text}"
_ESCAPES = {"\\n": "\n", "\\t": "\t"}


class Preparation(Struct, frozen=True, kw_only=True):
    r"""How to prepare candidates before they are ranked.

    Attributes:
        queries: Where the texts of the queries are; None if the candidates hold them.
        corpus: Where the texts of the documents are; None if the candidates hold them.
        text_template: A document's text, made of its fields in the corpus: `{title}\n{text}`.
        missing: What to do with candidates whose text or query is not there.
        sort_input: Whether to bring the rows of each query together.

    Raises:
        SettingsError: for a template that cannot be used, and for options without effect.
    """

    queries: str | None = None
    corpus: str | None = None
    text_template: str = PLAIN_TEMPLATE
    missing: OnMissing = "error"
    sort_input: bool = False

    def __post_init__(self) -> None:
        """Refuse a template that cannot be used, and options without effect."""
        if self.corpus is None and self.text_template != PLAIN_TEMPLATE:
            raise SettingsError("has no effect", which="--text-template", cure="give --corpus")
        if self.is_by_value and self.missing != "error":
            raise SettingsError(
                "has no effect", which="--missing", cure="give --corpus or --queries"
            )
        for option, name in (("--corpus", self.corpus), ("--queries", self.queries)):
            if name == "":
                raise SettingsError("no file is named", which=option)
        if not any(field for _, field in self.template_parts()):
            raise SettingsError(
                "names no field of the corpus",
                which="--text-template",
                found=repr(self.text_template),
                expected="such as {title}\\n{text}",
            )

    @property
    def is_by_value(self) -> bool:
        """Whether the candidates hold all texts themselves."""
        return self.queries is None and self.corpus is None

    def template_parts(self) -> list[tuple[str, str | None]]:
        """Return the template as pairs of a literal and the field after it, the last may be None.

        Raises:
            SettingsError: for braces that do not match, and for formats of fields.
        """
        try:
            parts = list(Formatter().parse(self.text_template))
        except ValueError as error:
            raise SettingsError(
                f"cannot be used: {error}", which="--text-template", found=repr(self.text_template)
            ) from error
        for _, field, spec, conversion in parts:
            if spec or conversion or field == "":
                raise SettingsError(
                    "takes names of fields alone",
                    which="--text-template",
                    found=repr(self.text_template),
                    expected="such as {title}\\n{text}",
                )
        return [(_unescape(literal), field) for literal, field, _, _ in parts]

    def output_settings(self) -> dict[str, Any]:
        """Return what changes the output, besides the content of the files; {} for the default."""
        changed = {
            "text_template": (self.text_template, PLAIN_TEMPLATE),
            "missing": (self.missing, "error"),
            "sort_input": (self.sort_input, False),
        }
        return {name: value for name, (value, default) in changed.items() if value != default}


def _unescape(literal: str) -> str:
    r"""Return the text with the line breaks and tabs that a shell gives as `\n` and `\t`."""
    for escape, character in _ESCAPES.items():
        literal = literal.replace(escape, character)
    return literal
