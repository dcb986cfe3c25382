"""The dashboard and the alerts ask for metrics and labels that a run writes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.real_runs import ROOT

from jobs.console.metrics_file import metrics_text
from pipeline.dataset.summary import RunSummary
from pipeline.output.ticks import Tick, Ticks

DEPLOY = ROOT / "jobs" / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana_dashboard.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((DEPLOY / "alerts.yml").read_text())

_METRIC = re.compile(r"\b(rerank_\w+)(?:\{([^}]*)\})?")


def written() -> dict[str, set[str]]:
    """Return the metrics of a file, each with the labels that its values have."""
    ticks = Ticks()
    ticks.add(Tick(at_s=1.0, requests=1))
    now = RunSummary(
        state="done",
        groups=1,
        candidates=1,
        quota_used=0.5,
        latency_ms={"p50": 1.0},
        bound_s={"storage": 1.0},
        recent=ticks.recent(),
    )
    labels = {"output": "out", "provider": "dashscope", "model": "m"}
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics_text(now, labels, 1.0, 2.0)):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_the_metrics_and_labels_of_an_expression_exist(where: str, expression: str) -> None:
    asked = _METRIC.findall(expression)

    assert asked, where
    for name, selector in asked:
        assert name in written(), where
        labels = set(re.findall(r"(\w+)\s*=", selector))
        assert labels <= written()[name], where
    assert expression.count("(") == expression.count(")")


def test_every_metric_of_progress_cost_and_trouble_is_on_the_dashboard() -> None:
    shown = {name for _, text in expressions() for name, _ in _METRIC.findall(text)}

    times = {"rerank_start_time_seconds"}
    counts = {"rerank_groups", "rerank_groups_done", "rerank_parts_done"}
    rates = {"rerank_requests_per_second", "rerank_requests_reused_total"}
    assert written().keys() - shown == times | counts | rates


def test_panels_have_places_of_their_own_and_names() -> None:
    panels = DASHBOARD["panels"]
    places = {
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }

    assert len(places) == sum(p["gridPos"]["w"] * p["gridPos"]["h"] for p in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] for panel in panels)


def test_every_alert_says_what_and_what_to_do() -> None:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "warn")
            assert "{{ $labels.output }}" in rule["annotations"]["summary"]
            assert rule["annotations"]["description"].endswith(".")
