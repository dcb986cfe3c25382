"""`rerank store`: inspect or shrink a score store."""

import sys
from datetime import datetime

import click
from msgspec.structs import asdict

from jobs.console.printing import emit, emit_facts, emit_json, json_option, num
from jobs.options.command import Command
from jobs.options.types import DAYS
from pipeline.core.errors import InputError
from pipeline.output.layout import SCORES_FOLDER
from pipeline.score_store.maintenance import info as store_info
from pipeline.score_store.maintenance import is_store
from pipeline.score_store.maintenance import prune as prune_store
from pipeline.score_store.pruning import Pruned
from pipeline.storage.location import Location, locate


@click.group()
def store() -> None:
    """Inspect or shrink a score store."""


@store.command(cls=Command, examples=("rerank store info out/sample/_scores",))
@click.argument("folder")
@json_option
def info(folder: str, as_json: bool) -> None:
    """Show what the score store in FOLDER holds."""
    facts = asdict(store_info(_existing(folder)))
    if as_json:
        emit_json(facts)
    else:
        emit_facts(
            (name.removesuffix("_bytes").replace("_", " "), _shown(name, value))
            for name, value in facts.items()
        )


@store.command(cls=Command, examples=("rerank store prune scores/ --unused-for 90",))
@click.argument("folder")
@click.option(
    "--unused-for",
    type=DAYS,
    required=True,
    metavar="DAYS",
    help="Remove answers that no run has used for so many days.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def prune(folder: str, unused_for: float, dry_run: bool, as_json: bool) -> None:
    """Remove answers from FOLDER that no run has used lately."""
    place = _existing(folder)
    if not dry_run and sys.stdin.isatty():
        _confirm_if_all(prune_store(place, unused_for_days=unused_for, dry_run=True))
    pruned = prune_store(place, unused_for_days=unused_for, dry_run=dry_run)
    if as_json:
        emit_json({**asdict(pruned), "dry_run": dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    emit(
        f"{verb} {num(pruned.removed, 'answer')}, about {_megabytes(pruned.removed_bytes)};"
        f" {num(pruned.kept, 'answer')} kept"
    )


def _confirm_if_all(pruned: Pruned) -> None:
    """Ask before all answers are removed, since they were paid for."""
    if pruned.removed and not pruned.kept:
        click.confirm(
            f"Remove all {num(pruned.removed, 'answer')}? They would be paid for again.",
            abort=True,
            err=True,
        )


def _existing(name: str) -> Location:
    """Return the store's folder.

    Raises:
        InputError: if there is none, as for a mistyped name, or if it is something else.
    """
    folder = locate(name)
    if not folder.is_folder():
        raise InputError("no such score store", which=name, cure="name OUTPUT/_scores")
    if not is_store(folder):
        inner = folder.child(SCORES_FOLDER)
        cure = f"name {inner.name}" if inner.is_folder() else "name OUTPUT/_scores"
        raise InputError("not a score store: it holds other files", which=name, cure=cure)
    return folder


def _shown(name: str, value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if name == "size_bytes" and isinstance(value, int):
        return _megabytes(value)
    return f"{value:,}" if isinstance(value, int) else str(value or "-")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
