"""`rerank store`: inspect or shrink a score store."""

from datetime import datetime

import click
from msgspec.structs import asdict

from jobs.console.printing import emit, emit_facts, emit_json, json_option, num
from pipeline.core.errors import InputError
from pipeline.score_store.maintenance import info as store_info
from pipeline.score_store.maintenance import prune as prune_store
from pipeline.storage.location import Location, locate


@click.group()
def store() -> None:
    """Inspect or shrink a score store."""


@store.command()
@click.argument("folder")
@json_option
def info(folder: str, as_json: bool) -> None:
    """Show what the score store in FOLDER holds."""
    facts = asdict(store_info(_existing(folder)))
    if as_json:
        emit_json(facts)
    else:
        emit_facts((name.replace("_", " "), _shown(value)) for name, value in facts.items())


@store.command()
@click.argument("folder")
@click.option(
    "--unused-for",
    type=click.FloatRange(min=0),
    required=True,
    metavar="DAYS",
    help="Remove answers that no run has used for so many days.",
)
@json_option
def prune(folder: str, unused_for: float, as_json: bool) -> None:
    """Remove answers from FOLDER that no run has used lately."""
    removed = prune_store(_existing(folder), unused_for_days=unused_for)
    if as_json:
        emit_json({"removed": removed})
    else:
        emit(f"removed {num(removed, 'answer')}")


def _existing(name: str) -> Location:
    """Return the store's folder; raise InputError if there is none, as for a mistyped name."""
    folder = locate(name)
    if not folder.is_folder():
        raise InputError("no such score store", which=name, cure="name OUTPUT/_scores")
    return folder


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return f"{value:,}" if isinstance(value, int) else str(value or "-")
