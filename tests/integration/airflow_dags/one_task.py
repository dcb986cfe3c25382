"""A DAG of one task, whose parameters are what a test wants of it."""

import os
from datetime import timedelta

import pendulum

try:
    from airflow.sdk import dag
except ImportError:  # Airflow 2
    from airflow.decorators import dag

from jobs.airflow import RerankOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params={"input_path": "", "output_path": "", "url": "", "provider": "emulator"},
)
def one_task() -> None:
    RerankOperator(
        task_id="rerank",
        input_path="{{ params.input_path }}",
        output_path="{{ params.output_path }}",
        url="{{ params.url }}",
        provider="{{ params.provider }}",
        max_in_flight=4,
        rerank_conn_id="rerank_service",
        retries=int(os.environ.get("ONE_TASK_RETRIES", "2")),
        retry_delay=timedelta(seconds=1),
    )


one_task()
