"""`rerank quota`: one account's quota for several processes."""

import click

from jobs.console import logs
from jobs.console.log_format import LogFormat, log_format_option
from jobs.options.command import Command
from jobs.options.config_file import config_option
from jobs.options.listen_options import listen_options
from jobs.options.types import POSITIVE_NUMBER
from jobs.process.event_loop import ServerJob, run_until_interrupted
from pipeline.core.environment import read_token


@click.group()
def quota() -> None:
    """Share one account's quota between several processes."""


@quota.command(
    cls=Command,
    examples=(
        "rerank quota serve --requests-per-minute 5400",
        "rerank run candidates/ reranked/ --quota http://127.0.0.1:8900",
    ),
)
@listen_options
@click.option(
    "--requests-per-minute",
    type=POSITIVE_NUMBER,
    metavar="N",
    help="Quota of requests. [default: as its runs say]",
)
@click.option(
    "--tokens-per-minute",
    type=POSITIVE_NUMBER,
    metavar="N",
    help="Quota of tokens. [default: as its runs say]",
)
@click.option(
    "--token-env",
    metavar="VARIABLE",
    help="Environment variable that holds the token that runs must show (--quota-token-env); "
    "needed unless --host is this machine's own. [default: no token]",
)
@log_format_option
@config_option
def serve(
    host: str,
    port: int,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
    token_env: str | None,
    log_format: LogFormat,
) -> None:
    """Lease quotas to every `rerank run --quota ADDRESS`.

    Together the runs send no more than the quota, and all of it while they have requests. Runs of
    another provider, model or key have a quota of their own, and so has every name after the
    address (--quota ADDRESS/NAME). It runs until Ctrl-C or SIGTERM. If it is gone, each run goes
    on at its share and comes back to it.
    """
    logs.configure(log_format)
    from jobs.quota_server import QuotaServerConfig
    from jobs.quota_server import serve as run_server

    config = QuotaServerConfig(
        host=host,
        port=port,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        token=read_token("--token-env", token_env),
    )
    job = ServerJob()
    run_until_interrupted(lambda: run_server(config, click.echo, job.end), job)
