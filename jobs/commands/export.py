"""`rerank export`: the result as one file of another form."""

from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from jobs.console.printing import emit_facts, emit_json, json_option, num
from jobs.options.command import Command
from jobs.options.config_file import config_option
from pipeline.core.errors import SettingsError

if TYPE_CHECKING:
    from pipeline.export.result import Result

FORMATS = ("trec", "jsonl", "parquet", "es-bulk")
SUFFIXES = {
    ".trec": "trec",
    ".run": "trec",
    ".txt": "trec",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""The format of each suffix."""
_PACKED = (".gz", ".zst")


@click.command(
    cls=Command,
    examples=(
        "rerank export out/sample out/sample.trec",
        "rerank export reranked/ s3://lake/ranked.jsonl.zst --with-text",
        "rerank export reranked/ bulk.ndjson.gz --format es-bulk --index ranked",
    ),
)
@click.argument("output")
@click.argument("dest")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(FORMATS),
    help="Format of DEST. [default: by its suffix]",
)
@click.option("--run-tag", help="trec: name of the run. [default: the model's]")
@click.option("--index", help="es-bulk: name of the index. [default: none]")
@click.option(
    "--per-document",
    is_flag=True,
    help="es-bulk: a partial update for each candidate, instead of a document for each query.",
)
@click.option("--with-text", is_flag=True, help="Also write the candidates' texts.")
@click.option(
    "--input",
    "input_name",
    metavar="INPUT",
    help="Input of OUTPUT, for queries and texts that OUTPUT lacks. "
    "[default: where the last run found it]",
)
@click.option("--partial", is_flag=True, help="Export an OUTPUT that is not finished.")
@json_option
@config_option
def export(
    output: str,
    dest: str,
    file_format: str | None,
    run_tag: str | None,
    index: str | None,
    per_document: bool,
    with_text: bool,
    input_name: str | None,
    partial: bool,
    as_json: bool,
) -> None:
    """Write OUTPUT as one file of another form.

    OUTPUT is that of a run, or the OUTPUT_ROOT of a backfill. DEST is a file or an object-store
    URI, compressed if it ends in .gz or .zst; it is written whole or not at all.
    """
    chosen = choose_format(dest, file_format)
    _refuse_ignored(
        chosen,
        {
            "--run-tag": (run_tag is not None, "trec"),
            "--index": (index is not None, "es-bulk"),
            "--per-document": (per_document, "es-bulk"),
        },
    )
    if chosen == "trec" and (with_text or input_name is not None):
        raise SettingsError("a TREC run holds no texts", which="--with-text, --input")
    from pipeline.export.destination import locate_destination
    from pipeline.export.export import Texts, export_result
    from pipeline.export.formats.writer import Shape
    from pipeline.export.index_names import check_index
    from pipeline.export.result import open_result

    file = locate_destination(dest, apart_from=[name for name in (output, input_name) if name])
    if chosen == "es-bulk":
        check_index(index)
    result = open_result(output, partial=partial)
    if chosen == "trec" and result.key is not None:
        raise SettingsError(
            "a TREC run holds each query once, and partitions may share queries",
            which=output,
            cure=f"export one partition: {result.pieces[0].name}",
        )
    shape = Shape(
        columns=result.columns(),
        run_tag=_run_tag(result, run_tag),
        index=index or "",
        per_document=per_document,
    )
    summary = export_result(result, file, chosen, shape, Texts(with_text, input_name))
    if as_json:
        emit_json({"dest": dest, "format": chosen, **asdict(summary)})
        return
    rows = num(summary.rows, "candidate")
    facts = [("exported", f"{num(summary.queries, 'query', 'queries')}, {rows}")]
    if summary.repeated:
        facts.append(("left out", num(summary.repeated, "repeated doc_id")))
    if not summary.finished:
        facts.append(("warning", f"{output} is not finished"))
    emit_facts([*facts, ("file", f"{dest} ({summary.size_bytes / 1e6:,.1f} MB, {chosen})")])


def choose_format(dest: str, given: str | None) -> str:
    """Return the format of a file: the one given, else that of its suffix.

    Raises:
        SettingsError: if neither names a format, or if they contradict each other.
    """
    name = dest.lower()
    packed = name.endswith(_PACKED)
    name = name.rpartition(".")[0] if packed else name
    by_suffix = next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), None)
    chosen = given or by_suffix
    if chosen is None:
        raise SettingsError(
            "its suffix names no format",
            which="DEST",
            found=dest,
            expected=", ".join(SUFFIXES),
            cure="add --format",
        )
    fits = by_suffix in (None, chosen) or (by_suffix, chosen) == ("jsonl", "es-bulk")
    if not fits or (chosen == "parquet") is not (by_suffix == "parquet"):
        raise SettingsError(
            f"its suffix does not fit the format {chosen}", which="DEST", found=dest
        )
    if packed and chosen == "parquet":
        raise SettingsError(
            "Parquet is compressed already", which="DEST", found=dest, expected=".parquet"
        )
    return chosen


def _refuse_ignored(chosen: str, options: dict[str, tuple[bool, str]]) -> None:
    for option, (is_given, for_format) in options.items():
        if is_given and chosen != for_format:
            raise SettingsError(f"has no meaning for {chosen}", which=option)


def _run_tag(result: "Result", given: str | None) -> str:
    tag = given
    if tag is None:
        tag = "-".join(str(result.pieces[0].output.manifest.settings.get("model", "")).split())
        tag = tag or "rerank"
    if not tag or tag.split() != [tag] or not tag.isprintable():
        raise SettingsError("is empty or holds blanks", which="--run-tag", found=repr(tag))
    return tag
