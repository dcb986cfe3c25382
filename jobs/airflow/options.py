"""The options of `rerank run` and `rerank backfill` as arguments of an operator.

Their names are those of `pipeline.RunOptions`, whose module is too slow to import wherever a DAG is
parsed; a test holds this list to it and to the command line.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypedDict, TypeVar

Init = TypeVar("Init", bound=Callable[..., None])


class RunOptions(TypedDict, total=False):
    """The options of a run; what is left out, None or empty has the default of the command."""

    provider: str
    model: str
    url: str
    api_key_env: str
    instruct: str
    fps: float
    timeout: float
    top_n: int
    requests_per_minute: float
    tokens_per_minute: float
    max_in_flight: int
    max_documents_in_flight: int
    max_attempts: int
    max_outage: float
    max_cost: float
    max_rejects: int
    max_documents: int
    max_tokens_per_document: int
    max_tokens_per_request: int
    merge: str
    certify_depth: int
    long_documents: str
    duplicates: str
    layout: str
    columns: Mapping[str, str]
    queries: str
    corpus: str
    text_template: str
    missing: str
    sort_input: bool
    limit: int
    with_text: bool
    groups_per_part: int
    score_store: str
    reuse: str
    lock_wait: float
    restart: bool
    quota: str
    quota_token_env: str
    shard: str
    dask: str
    metrics_file: str
    config: str


RUN_OPTIONS: Final = tuple(RunOptions.__annotations__)
RUN_ONLY: Final = frozenset({"shard", "dask"})
"""Options that a backfill does not have."""

FLAGS: Final = frozenset(name for name, kind in RunOptions.__annotations__.items() if kind is bool)


def takes_options(init: Init) -> Init:
    """Give a method with `**options` a signature that names them.

    Airflow reads the signature to learn which names `default_args`, `partial` and `expand` may set.
    """
    own = inspect.signature(init)
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in RUN_OPTIONS
    ]
    *first, rest = own.parameters.values()
    init.__signature__ = own.replace(parameters=[*first, *named, rest])  # type: ignore[attr-defined]
    return init


def split_options(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that were given, and what is left for Airflow itself."""
    given = {name: arguments[name] for name in RUN_OPTIONS if arguments.get(name) is not None}
    return given, {name: arguments[name] for name in arguments if name not in RUN_OPTIONS}


def refuse_misspelt(names: Iterable[str], known: Collection[str]) -> None:
    """Refuse an unknown name that is close to the name of an option.

    Args:
        names: Of arguments that are no options.
        known: The names of those that Airflow takes; it refuses any other unknown name itself.

    Raises:
        TypeError: naming the option that may be meant.
    """
    for name in names:
        if name not in known and (nearest := get_close_matches(name, RUN_OPTIONS, n=1)):
            raise TypeError(f"no such option: {name}; did you mean {nearest[0]}?")
