"""Which input column plays which part, checked over all files before any row is read.

A *role* is a column that the job needs under a name of its own; `--column NAME=SOURCE` says which
input column plays it. Everything else is *carried*: it passes through to the output.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError, SettingsError
from pipeline.source.arrow import Field
from pipeline.source.column_types import (
    ID_TYPES,
    RANK_TYPES,
    TEXT_TYPES,
    id_type,
    joint_type,
    plain_type,
    rank_type,
    text_type,
)
from pipeline.source.listing import InputFile

Layout = Literal["auto", "long"]

REQUIRED = ("query_id", "query", "doc_id", "text")
OPTIONAL = ("first_stage_rank", "first_stage_score")

_TYPE_RULES = {
    "query_id": (id_type, ID_TYPES),
    "doc_id": (id_type, ID_TYPES),
    "query": (text_type, TEXT_TYPES),
    "text": (text_type, TEXT_TYPES),
    "first_stage_rank": (rank_type, RANK_TYPES),
}
_RANKED = (
    pa.field("rank", pa.int32()),
    pa.field("relevance_score", pa.float64()),
    pa.field("first_stage_rank", pa.int32()),
)


class InputSchema(Struct, frozen=True, eq=False):
    """The input's columns as the job sees them.

    Attributes:
        sources: The input column that plays each role; optional roles may be absent.
        carried: What passes through: output name to input column, in the order of the output.
        rows_schema: `GroupBatch.rows`: the ids, then the carried columns.
        output_schema: The columns of a part.
    """

    sources: Mapping[str, str]
    carried: Mapping[str, str]
    rows_schema: pa.Schema
    output_schema: pa.Schema


def resolve_schema(
    files: Iterable[InputFile], *, columns: Mapping[str, str], layout: Layout, with_text: bool
) -> InputSchema:
    """Find the roles and the carried columns of a dataset.

    Columns that only some files have are filled with nulls in the others. Files without rows are
    asked only if there are no others: writers often lose the types of empty columns.

    Raises:
        SettingsError: for a `--column` whose name is no role.
        InputError: for a column that is missing, twice there, of a wrong type, or of types in
            two files that no common type holds without loss.
    """
    for name in columns:
        if name not in REQUIRED + OPTIONAL:
            raise SettingsError(
                "unknown column name", which="--column", found=name, expected=REQUIRED + OPTIONAL
            )
    files = list(files)
    union = _Union(columns, layout)
    for file in [file for file in files if file.num_rows] or files:
        union.add(file)
    return union.schema(with_text)


class _Union:
    """The columns of the files seen so far."""

    def __init__(self, columns: Mapping[str, str], layout: Layout) -> None:
        self._columns = columns
        self._layout = layout
        self._sources: dict[str, str] = {}
        self._types: dict[str, pa.DataType] = {}
        self._seen_in: dict[str, InputFile] = {}

    def add(self, file: InputFile) -> None:
        """Join a file's columns to those of the files before it."""
        names = file.schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"more than one column is called {twice[0]!r}",
                which=file.location.name,
                cure="give each column a name of its own",
            )
        sources = self._find_roles(file)
        ranked = "first_stage_rank" in sources
        if self._sources and ranked is not ("first_stage_rank" in self._sources):
            raise InputError(
                "only some files have ranks",
                which=file.location.name,
                found=f"{'a' if ranked else 'no'} column 'first_stage_rank'",
                cure="write it into every file or into none",
            )
        self._sources |= sources
        types = {field.name: plain_type(field.type) for field in file.schema}
        for role, source in sources.items():
            types[source] = _check_role(role, file.schema.field(source), file)
        ids = {sources["query_id"], sources["doc_id"]}
        for name, kind in types.items():
            self._join(name, kind, file, is_id=name in ids)

    def schema(self, with_text: bool) -> InputSchema:
        """What the job works with."""
        sources, types = self._sources, self._types
        ids = [pa.field(role, types[sources[role]]) for role in ("query_id", "doc_id")]
        shown = ("query", "text") if with_text else ()
        played = {source for role, source in sources.items() if role in _TYPE_RULES}
        carried = _output_names(
            [name for name in types if name not in played],
            score_source=sources.get("first_stage_score"),
            reserved={"query_id", "doc_id", *(field.name for field in _RANKED), *shown},
        )
        passing = [pa.field(new, types[name]) for new, name in carried.items()]
        texts = [pa.field(role, types[sources[role]]) for role in shown]
        return InputSchema(
            sources=sources,
            carried=carried | {role: sources[role] for role in shown},
            rows_schema=pa.schema([*ids, *passing, *texts]),
            output_schema=pa.schema([*ids, *_RANKED, *passing, *texts]),
        )

    def _find_roles(self, file: InputFile) -> dict[str, str]:
        """The input column of every role that the file has."""
        sources = {role: self._columns.get(role, role) for role in REQUIRED + OPTIONAL}
        needed = [role for role in sources if role in REQUIRED or role in self._columns]
        missing = [role for role in needed if sources[role] not in file.schema.names]
        if not missing:
            return {role: source for role, source in sources.items() if source in file.schema.names}
        lists = [field.name for field in file.schema if _is_list(field.type)]
        if lists and self._layout == "auto" and {"doc_id", "text"} & set(missing):
            raise InputError(
                f"a row per query, with its candidates in {lists}, is not supported yet",
                which=file.location.name,
                expected="a row per candidate: query_id, query, doc_id, text",
                cure="unnest the lists before this job",
            )
        cures = [f"--column {role}=NAME" for role in missing]
        raise InputError(
            f"missing columns {[sources[role] for role in missing]}",
            which=file.location.name,
            found=file.schema.names,
            cure="use " + " ".join(cures),
        )

    def _join(self, name: str, kind: pa.DataType, file: InputFile, *, is_id: bool) -> None:
        before = self._types.setdefault(name, kind)
        first_file = self._seen_in.setdefault(name, file)
        joint = joint_type(before, kind)
        if joint is None or (is_id and pa.types.is_integer(joint) and before != kind):
            raise InputError(
                f"column {name!r} has another type than in {first_file.path}",
                which=file.location.name,
                found=kind,
                expected=before,
                cure="write both files with one type",
            )
        self._types[name] = joint


def _check_role(role: str, field: Field, file: InputFile) -> pa.DataType:
    """The type in which a role's column is worked with."""
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
    """Output name to input column; `input_` is put before a name that the output has itself."""
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


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)
