"""Which input column plays which role, checked over all files before any row is read.

A *role* is a column that the job needs under a name of its own; `--column ROLE=COLUMN` says which
input column plays it. Every other column passes through to the output.
"""

from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError, SettingsError, shorten
from pipeline.source.arrow import Field
from pipeline.source.column_hints import cure_for_missing
from pipeline.source.column_types import (
    ID_TYPES,
    RANK_TYPES,
    TEXT_TYPES,
    id_type,
    plain_type,
    rank_type,
    text_type,
)
from pipeline.source.input_file import InputFile
from pipeline.source.joint_types import joint_type
from pipeline.source.layouts.layout import OPTIONAL, REQUIRED, Layout

_TYPE_RULES = {
    "query_id": (id_type, ID_TYPES),
    "doc_id": (id_type, ID_TYPES),
    "query": (text_type, TEXT_TYPES),
    "text": (text_type, TEXT_TYPES),
    "first_stage_rank": (rank_type, RANK_TYPES),
}
ROLES = (*REQUIRED, *OPTIONAL)
_SHOWN_NAMES = 200
"""Characters of a file's column names in a message."""

_RANKED = (
    pa.field("rank", pa.int32()),
    pa.field("relevance_score", pa.float64()),
    pa.field("first_stage_rank", pa.int32()),
)


class InputSchema(Struct, frozen=True, eq=False):
    """The input's columns as the job sees them.

    Attributes:
        layout: How rows hold candidates.
        sources: The input column that plays each role; optional roles may be absent.
        passthrough: What passes through: output name to input column, in the output's order.
        candidate_schema: `query_id`, `doc_id` and the passed-through columns.
        output_schema: The columns of a part.
        widened: Columns of a part whose types differ in the files; the part has a type that holds
            the values of all of them.
    """

    layout: Layout
    sources: Mapping[str, str]
    passthrough: Mapping[str, str]
    candidate_schema: pa.Schema
    output_schema: pa.Schema
    widened: Mapping[str, pa.DataType]


def resolve_schema(
    files: Iterable[InputFile],
    layout: Layout,
    *,
    columns: Mapping[str, str],
    with_text: bool = False,
    elsewhere: Collection[str] = (),
) -> InputSchema:
    """Find the roles and the passed-through columns of an input.

    A column that only some files have is null in the others.

    Args:
        files: The files whose columns count.
        layout: How rows hold candidates.
        columns: The input column that plays a role, where it bears another name.
        with_text: Pass the query and the text through too.
        elsewhere: Roles that no column plays, since their values are not in the files; a column of
            such a name passes through.

    Raises:
        SettingsError: for a `--column` that names no role.
        InputError: for a column that is missing, repeated or of a wrong type, or whose types in
            two files have no common type that holds both without loss.
    """
    names = (*ROLES, *layout.other_names)
    for name in columns:
        if name not in names:
            is_reversed = columns[name] in names
            raise SettingsError(
                "unknown column",
                which="--column",
                found=name,
                expected=", ".join(names),
                cure=f"write it the other way round: --column {columns[name]}={name}"
                if is_reversed
                else None,
            )
    union = _Union(layout, columns, elsewhere)
    for file in files:
        union.add(file)
    return union.schema(with_text)


class _Union:
    """The columns of the files seen so far."""

    def __init__(
        self, layout: Layout, columns: Mapping[str, str], elsewhere: Collection[str]
    ) -> None:
        self._layout = layout
        self._columns = columns
        self._elsewhere = elsewhere
        self._roles = [role for role in ROLES if role not in elsewhere]
        self._sources: dict[str, str] = {}
        self._types: dict[str, pa.DataType] = {}
        self._seen_in: dict[str, InputFile] = {}
        self._widened = set[str]()

    def add(self, file: InputFile) -> None:
        """Join a file's columns to those of the files before it."""
        fields = self._layout.flat_schema(file.schema)
        names = fields.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"more than one column is called {twice[0]!r}",
                which=file.location.name,
                cure="give each column a name of its own",
            )
        sources = self._find_roles(fields, file)
        ranked = "first_stage_rank" in sources
        if self._sources and ranked is not ("first_stage_rank" in self._sources):
            column = self._layout.column_of("first_stage_rank")
            first_file = next(iter(self._seen_in.values())).path
            raise InputError(
                f"column {column!r} is in some files only",
                which=file.location.name,
                found=f"it here, not in {first_file}"
                if ranked
                else f"it in {first_file}, not here",
                cure="write it into every file or into none",
            )
        self._sources |= sources
        types = {field.name: plain_type(field.type) for field in fields}
        for role, source in sources.items():
            types[source] = _role_type(role, fields.field(source), file)
        for name, kind in types.items():
            self._join(name, kind, file)

    def schema(self, with_text: bool) -> InputSchema:
        """Return the columns of all files together."""
        sources, types = self._sources, self._types
        ids = [pa.field(role, types[sources[role]]) for role in ("query_id", "doc_id")]
        shown = ("query", "text") if with_text else ()
        taken_up = {source for role, source in sources.items() if role in _TYPE_RULES}
        passthrough = _output_names(
            [name for name in types if name not in taken_up],
            score_source=sources.get("first_stage_score"),
            reserved={
                *("query_id", "doc_id", *shown, *self._elsewhere),
                *(field.name for field in _RANKED),
            },
        )
        passing = [pa.field(new, types[name]) for new, name in passthrough.items()]
        texts = [pa.field(role, types[sources[role]]) for role in shown]
        source_of = sources | passthrough
        output_schema = pa.schema([*ids, *_RANKED, *passing, *texts])
        return InputSchema(
            layout=self._layout,
            sources=sources,
            passthrough=passthrough | {role: sources[role] for role in shown},
            candidate_schema=pa.schema([*ids, *passing, *texts]),
            output_schema=output_schema,
            widened={
                field.name: field.type
                for field in output_schema
                if source_of.get(field.name) in self._widened
            },
        )

    def _find_roles(self, fields: pa.Schema, file: InputFile) -> dict[str, str]:
        """Return the column of every role that the file has."""
        layout = self._layout
        sources = {role: layout.column_of(role) for role in self._roles}
        needed = [role for role in sources if role in REQUIRED or role in self._columns]
        missing = [role for role in needed if sources[role] not in fields.names]
        if missing:
            taken = [source for role, source in sources.items() if role not in missing]
            raise InputError(
                f"missing columns {[sources[role] for role in missing]}",
                which=file.location.name,
                found=shorten(str(file.schema.names), _SHOWN_NAMES),
                expected=layout.description,
                cure=cure_for_missing(missing, fields.names, taken),
            )
        return {role: source for role, source in sources.items() if source in fields.names}

    def _join(self, name: str, kind: pa.DataType, file: InputFile) -> None:
        before = self._types.setdefault(name, kind)
        first_file = self._seen_in.setdefault(name, file)
        joint = joint_type(before, kind)
        if joint is None:
            raise InputError(
                f"column {name!r} has another type than in {first_file.path}",
                which=file.location.name,
                found=kind,
                expected=before,
                cure="write both files with one type",
            )
        self._types[name] = joint
        if not (before.equals(kind) or pa.types.is_null(before) or pa.types.is_null(kind)):
            self._widened.add(name)


def _role_type(role: str, field: Field, file: InputFile) -> pa.DataType:
    """Return the type in which the job works with a role's column."""
    if role not in _TYPE_RULES:
        return plain_type(field.type)
    rule, expected = _TYPE_RULES[role]
    kind = rule(field.type)
    if kind is None:
        cure = f"cast it, or name another column with --column {role}=NAME"
        if role.endswith("_id") and pa.types.is_floating(field.type):
            cure = "cast it to int64 or string (pandas makes floats of integers beside a null)"
        raise InputError(
            f"column {field.name!r} has a wrong type",
            which=file.location.name,
            found=field.type,
            expected=expected,
            cure=cure,
        )
    return kind


def _output_names(
    names: list[str], *, score_source: str | None, reserved: set[str]
) -> dict[str, str]:
    """Return output name to input column; a name that the output itself has gets `input_`."""
    if score_source is not None:
        reserved = reserved | {"first_stage_score"}
    taken = reserved | set(names)
    renamed = {}
    for name in names:
        new = "first_stage_score" if name == score_source else name
        if new in reserved and name != score_source:
            while new in taken:
                new = f"input_{new}"
            taken.add(new)
        renamed[new] = name
    return renamed
