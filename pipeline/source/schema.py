"""Find which input column plays which role, over all files, before any row is read.

A *role* is a column that the job needs under a name of its own; `--column ROLE=COLUMN` says which
input column plays it. Every other column passes through to the output.
"""

from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError, shorten
from pipeline.source.column_hints import cure_for_missing
from pipeline.source.column_types import plain_type
from pipeline.source.input_file import InputFile
from pipeline.source.joint_types import joint_type
from pipeline.source.layouts.layout import DOCUMENT_MEDIA, QUERY_MEDIA, REQUIRED, Layout
from pipeline.source.roles import (
    MEDIA_ROLES,
    ROLES,
    has_type_of_its_own,
    refuse_unknown_roles,
    role_type,
)

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
        passthrough: The columns that pass through: output name to input column, in the output's
            order.
        candidate_schema: `query_id`, `doc_id` and the passed-through columns.
        output_schema: The columns of a part.
        widened: Columns of a part whose types differ in the files; the part has a type that holds
            the values of all of them.
        media: Whether images and videos are read, by columns that play their roles.
        media_beside: Columns that would play these roles if the model scored more than texts.
    """

    layout: Layout
    sources: Mapping[str, str]
    passthrough: Mapping[str, str]
    candidate_schema: pa.Schema
    output_schema: pa.Schema
    widened: Mapping[str, pa.DataType]
    media: bool = False
    media_beside: Collection[str] = ()


def resolve_schema(
    files: Iterable[InputFile],
    layout: Layout,
    *,
    columns: Mapping[str, str],
    with_text: bool = False,
    elsewhere: Collection[str] = (),
    media: bool = False,
    with_media: bool = False,
) -> InputSchema:
    """Find the roles and the passed-through columns of an input.

    A column that only some files have is null in the others.

    Args:
        files: The files whose columns count.
        layout: How rows hold candidates.
        columns: The input column that plays a role, where it has another name.
        with_text: Pass the query and the text through too, and images and videos.
        elsewhere: Roles that no column plays, since their values are not in the files; a column of
            such a name passes through.
        media: Whether columns play the roles of images and videos; else such columns pass through.
        with_media: Only pass images and videos through, unchecked, whether or not texts are.

    Raises:
        SettingsError: for a `--column` that names no role, or one that the model does not score.
        InputError: for a column that is missing, repeated or of a wrong type, or whose types in
            two files have no common type that holds both without loss.
    """
    refuse_unknown_roles(columns, layout.other_names, media=media)
    roles = [role for role in (*ROLES, *(MEDIA_ROLES if media else ())) if role not in elsewhere]
    union = _Union(layout, columns, roles, elsewhere)
    for file in files:
        union.add(file)
    shown: tuple[str, ...] = ("query", "text") if with_text else ()
    shown = (*shown, *(MEDIA_ROLES if with_text or with_media else ()))
    return union.schema(shown, checks_media=not with_media)


class _Union:
    """The columns of the files seen so far."""

    def __init__(
        self,
        layout: Layout,
        columns: Mapping[str, str],
        roles: Collection[str],
        elsewhere: Collection[str],
    ) -> None:
        self._layout = layout
        self._columns = columns
        self._elsewhere = elsewhere
        self._roles = roles
        self._media = not {*MEDIA_ROLES}.isdisjoint(roles)
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
            types[source] = role_type(role, fields.field(source), file)
        for name, kind in types.items():
            self._join(name, kind, file)

    def schema(self, roles_shown: Collection[str], *, checks_media: bool) -> InputSchema:
        """Return the columns of all files together; those of some roles pass through."""
        sources, types = self._sources, self._types
        ids = [pa.field(role, types[sources[role]]) for role in ("query_id", "doc_id")]
        shown = [role for role in roles_shown if role in sources]
        taken_up = {source for role, source in sources.items() if has_type_of_its_own(role)}
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
            media=checks_media and not sources.keys().isdisjoint(MEDIA_ROLES),
            media_beside=[name for name in DOCUMENT_MEDIA if name in types]
            if checks_media and not self._media
            else (),
        )

    def _find_roles(self, fields: pa.Schema, file: InputFile) -> dict[str, str]:
        """Return the column of every role that the file has."""
        layout = self._layout
        sources = {role: layout.column_of(role) for role in self._roles}
        needed = [role for role in sources if role in REQUIRED or role in self._columns]
        missing = [role for role in needed if sources[role] not in fields.names]
        if self._media:  # an image may stand for a text
            for role, others in (("text", DOCUMENT_MEDIA), ("query", QUERY_MEDIA)):
                has_other = any(sources.get(other) in fields.names for other in others)
                if has_other and role not in self._columns and role in missing:
                    missing.remove(role)
        elif not {"text", "query"}.isdisjoint(missing):
            beside = [name for name in MEDIA_ROLES if name in fields.names]
            if beside:
                raise InputError(
                    f"missing columns {[sources[role] for role in missing]}, and the model scores "
                    "texts alone",
                    which=file.location.name,
                    found=", ".join(beside),
                    cure="choose a multimodal --model such as qwen3-vl-rerank",
                )
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
