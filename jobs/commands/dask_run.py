"""`rerank run --dask`: the main job in shards on a cluster."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from jobs.console.log_options import LogOptions
from jobs.console.printing import emit_json, not_printed_is_no_failure
from jobs.console.run_report import show_report
from jobs.options.settings import run_options
from pipeline.core.errors import SettingsError

if TYPE_CHECKING:
    import distributed

_LOCAL = re.compile(r"local:([1-9][0-9]{0,2})", re.ASCII)
_CONNECT_S = 10
_NO_ADDRESS = "http://emulator"
"""Options of an emulator that runs for this run alone."""


def run_on_dask(
    cluster: str,
    input_name: str,
    output_name: str,
    options: Mapping[str, Any],
    shown: LogOptions,
    *,
    as_json: bool,
) -> None:
    """Run on a cluster and show the numbers of all shards.

    Args:
        cluster: `local:N`, or a scheduler's address.
        input_name: As `rerank run` takes it.
        output_name: The same.
        options: Those of `rerank run`.
        shown: Which logs may be shown on stderr.
        as_json: Whether to print a JSON object.

    Raises:
        RerankError: as `rerank_on_cluster` does.
    """
    try:
        from jobs.dask_cluster import rerank_on_cluster
    except ImportError as error:
        raise SettingsError(
            "needs the extra dask", which="--dask", cure="pip install 'rerank-pipeline[dask]'"
        ) from error
    chosen = run_options(options)
    with _client(cluster) as client:
        summary = rerank_on_cluster(client, input_name, output_name, **asdict(chosen))
    with not_printed_is_no_failure():
        if as_json:
            emit_json(summary.as_json())
        elif not shown.quiet:
            show_report(summary, chosen.settings(url=chosen.url or _NO_ADDRESS), output_name)


@contextmanager
def _client(cluster: str) -> "Iterator[distributed.Client]":
    import distributed

    from jobs.dask_cluster import local_cluster

    if match := _LOCAL.fullmatch(cluster):
        with local_cluster(int(match[1])) as client:
            yield client
        return
    if ":" not in cluster or cluster.startswith("local:"):
        raise SettingsError(
            "no cluster", which="--dask", found=cluster, expected="local:N or HOST:PORT"
        )
    try:
        client = distributed.Client(cluster, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise SettingsError(
            "the cluster's scheduler cannot be reached", which=f"--dask {cluster}"
        ) from error
    with client:
        yield client
