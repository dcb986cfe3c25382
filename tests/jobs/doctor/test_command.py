"""`rerank doctor` against services that are healthy, faulty or missing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from support.logging_state import restored_logging

from jobs.cli import main
from jobs.doctor.comparability import evaluate_probe, probe_sets, sending_order
from jobs.doctor.findings import Usage, describe_probe, describe_usage
from jobs.doctor.texts import COMMON, EASY, STRONG
from jobs.emulator.child import emulator_process
from jobs.emulator.distortions import DISTORTIONS
from pipeline.core.models import PROFILES
from pipeline.core.providers import EMULATOR_PATH, PROVIDERS

KEY = "sk-of-the-doctor-0123456789"
QWEN = PROFILES["qwen3-rerank"]
ALL = ["settings", "address", "answer", "repeat", "documents", "long document", "tokens"]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with restored_logging():
        yield


@pytest.fixture(scope="module")
def healthy() -> Iterator[str]:
    with emulator_process("--api-key", KEY) as address:
        yield address + EMULATOR_PATH


@contextmanager
def faulty(*options: str) -> Iterator[str]:
    with emulator_process(*options) as address:
        yield address + EMULATOR_PATH


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the command; it returns exit code, JSON object and all output."""

    def run(*arguments: str, key: str | None = KEY) -> tuple[int, dict[str, Any], str]:
        monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
        if key is not None:
            monkeypatch.setenv("DASHSCOPE_API_KEY", key)
        code = main(["doctor", "--json", *arguments])
        out, err = capsys.readouterr()
        return code, json.loads(out), out + err

    return run


def statuses(facts: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["status"] for check in facts["checks"]}


def found(facts: dict[str, Any], name: str) -> str:
    (check,) = [check for check in facts["checks"] if check["check"] == name]
    return f"{check['finding']}; {check['cure']}"


def test_a_healthy_service_passes_every_check(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy)

    assert code == 0
    assert statuses(facts) == dict.fromkeys(ALL, "ok")
    assert "500 are accepted, 501 are refused" in found(facts, "documents")
    assert "counted as 4,000: truncated" in found(facts, "long document")
    assert "exactly" in found(facts, "tokens")
    assert facts["schema_version"] == 1


def test_the_cost_is_reported_and_below_a_cent(doctor: Any, healthy: str) -> None:
    _, plain, _ = doctor("--url", healthy)
    _, probed, _ = doctor("--url", healthy, "--comparability")

    assert 0 < plain["cost_usd"] < probed["cost_usd"] < 0.01
    assert probed["cost_usd"] == pytest.approx(probed["total_tokens"] * 1e-7)
    assert probed["requests"] == plain["requests"] + 3


def test_the_report_is_one_line_a_check_and_one_for_the_cost(healthy: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "doctor", "--url", healthy, "--comparability"],
        env=os.environ | {"DASHSCOPE_API_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    *lines, cost = done.stdout.splitlines()
    assert [line[:19].split(maxsplit=1) for line in lines] == [
        ["ok", name.ljust(14)] for name in [*ALL, "comparability"]
    ]
    assert cost.startswith("cost: 8 requests, ")


def test_the_compatible_endpoint_is_checked_too(doctor: Any, healthy: str) -> None:
    url = healthy.replace(EMULATOR_PATH, "/compatible-api/v1/reranks")

    code, facts, _ = doctor("--provider", "dashscope-compatible", "--url", url)

    assert code == 0
    assert set(statuses(facts).values()) == {"ok"}


def test_the_emulator_needs_neither_key_nor_address(doctor: Any) -> None:
    code, facts, _ = doctor("--provider", "emulator", key=None)

    assert code == 0
    assert found(facts, "settings").startswith("emulator, qwen3-rerank, no key needed")


def test_a_missing_key_is_exit_2_and_nothing_is_sent(doctor: Any) -> None:
    code, facts, output = doctor(key=None)

    assert code == 2
    assert statuses(facts) == {"settings": "fail"}
    assert "export DASHSCOPE_API_KEY=" in found(facts, "settings")
    assert "rerank: error: DASHSCOPE_API_KEY: no API key" in output


def test_contradictory_settings_are_exit_2(doctor: Any) -> None:
    code, facts, _ = doctor("--model", "gte-rerank-v2", "--instruct", "Find the answer.")

    assert code == 2
    assert "ignores an instruction" in found(facts, "settings")


def test_a_wrong_key_is_exit_4_and_never_shown(doctor: Any, healthy: str) -> None:
    code, facts, output = doctor("--url", healthy, key="sk-another-9876543210")

    assert code == 4
    assert statuses(facts) == {"settings": "ok", "address": "ok", "answer": "fail"}
    assert "check the key, its region and its workspace" in found(facts, "answer")
    assert "sk-another" not in output


def test_the_key_is_never_shown(doctor: Any, healthy: str) -> None:
    _, _, output = doctor("--url", healthy)

    assert KEY not in output


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/x", "connection refused"),
        ("https://no-such-host.invalid/x", "the host name cannot be resolved"),
    ],
)
def test_an_unreachable_address_is_exit_4(doctor: Any, url: str, why: str) -> None:
    code, facts, output = doctor("--url", url)

    assert code == 4
    assert statuses(facts) == {"settings": "ok", "address": "fail"}
    assert why in found(facts, "address")
    assert output.count("rerank: error:") == 1


def test_a_port_without_tls_is_reported(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy.replace("http://", "https://"))

    assert code == 4
    assert "no TLS with 127.0.0.1" in found(facts, "address")


def test_a_wrong_path_is_reported(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy + "/typo")

    assert code == 4
    assert "check --model and --url" in found(facts, "answer")


def test_an_unknown_model_is_reported(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy, "--model", "qwen9-rerank")

    assert code == 4
    assert "does not exist" in found(facts, "answer")


def test_an_html_page_instead_of_an_answer_is_exit_1(doctor: Any) -> None:
    with faulty("--fault", "html-in-200") as url:
        code, facts, _ = doctor("--url", url)

    assert code == 1
    assert "not_json" in found(facts, "answer")


@pytest.mark.parametrize(
    ("options", "comparable"),
    [
        ((), True),
        (("--score-noise", ".05"), True),
        (("--score-noise", ".05", "--score-digits", "4"), True),
        (("--score-noise", ".6"), False),
        *((("--score-distortion", name), False) for name in DISTORTIONS if name != "none"),
    ],
)
def test_comparability_is_recognised_under_every_distortion(
    doctor: Any, options: tuple[str, ...], comparable: bool
) -> None:
    with faulty(*options) as url:
        code, facts, _ = doctor("--url", url, "--comparability")

    assert code == 0
    assert facts["comparability"]["comparable"] is comparable
    assert statuses(facts)["comparability"] == ("ok" if comparable else "warn")
    assert "--merge auto" in found(facts, "comparability")


# the probe, as a pure function


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def logits() -> tuple[np.ndarray, np.ndarray]:
    common, easy, strong = (
        np.linspace(*span, len(texts))
        for span, texts in (((4, -6), COMMON), ((-4, -7), EASY), ((5, 2), STRONG))
    )
    return np.concatenate((common, easy)), np.concatenate((common, strong))


def test_the_sets_of_the_probe_share_their_first_documents() -> None:
    first, second, shared = probe_sets(500)

    assert (len(first), len(second), shared) == (140, 140, 40)
    assert first[:40] == second[:40] == COMMON
    assert len({*COMMON, *EASY, *STRONG}) == 240


@pytest.mark.parametrize(("most", "shared"), [(100, 40), (60, 30), (32, 16), (2, 1)])
def test_the_probe_respects_a_small_limit_of_documents(most: int, shared: int) -> None:
    first, second, num_common = probe_sets(most)

    assert (len(first), len(second), num_common) == (most, most, shared)
    assert set(first) & set(second) == set(first[:shared]) == set(second[:shared])


def test_a_model_of_fewer_documents_is_probed_too(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy, "--model", "qwen3-vl-rerank", "--comparability")

    assert code == 0
    assert set(statuses(facts).values()) == {"ok"}
    assert "100 are accepted, 101 are refused" in found(facts, "documents")


def test_documents_are_sent_in_an_order_of_their_own() -> None:
    order = sending_order(COMMON + EASY)

    assert sorted(order) == list(range(140))
    assert 10 <= sum(place < len(COMMON) for place in order[:70]) <= 30


def test_noise_between_repeats_is_measured() -> None:
    first, second = logits()
    rng = np.random.default_rng(0)
    noisy = [sigmoid(x + 0.1 * rng.standard_normal(140)) for x in (first, second, first)]

    result = evaluate_probe(*noisy, num_common=40)

    assert result.comparable
    assert result.repeat_sd == pytest.approx(0.1, rel=0.2)
    assert result.set_rms == pytest.approx(0.1, rel=0.35)


def test_a_shift_between_the_sets_is_measured() -> None:
    first, second = logits()

    result = evaluate_probe(sigmoid(first), sigmoid(second - 0.5), sigmoid(first), num_common=40)

    assert not result.comparable
    assert not result.is_noise_alone
    assert result.set_shift == pytest.approx(-0.5)
    assert result.residual_rms == pytest.approx(0, abs=0.01)
    assert "other documents shift them by -0.5 logits" in describe_probe("c", result).finding


def test_noise_is_distinguished_from_an_effect_of_the_set() -> None:
    first, second = logits()
    rng = np.random.default_rng(0)
    noisy = [sigmoid(x + 0.6 * rng.standard_normal(140)) for x in (first, second, first)]

    result = evaluate_probe(*noisy, num_common=40)

    assert not result.comparable
    assert result.is_noise_alone
    assert "too noisy" in describe_probe("c", result).finding


def test_raw_logits_ties_and_saturation_are_recognised() -> None:
    first, second = logits()

    raw = evaluate_probe(first, second, first, num_common=40)
    coarse = evaluate_probe(
        *(sigmoid(3 * x).round(3) for x in (first, second, first)), num_common=40
    )

    assert (raw.scale, raw.comparable, raw.digits) == ("logits", True, None)
    assert (coarse.scale, coarse.digits) == ("probabilities", 3)
    assert coarse.tied > 0.5
    assert coarse.saturated > 0.3


def test_constant_scores_are_not_comparable() -> None:
    ones = np.ones(140)

    result = evaluate_probe(ones, ones, ones, num_common=40)

    assert not result.comparable
    assert (result.saturated, result.tied, result.repeat_sd) == (1, 1, 0)
    assert "every score is saturated at 0 or 1" in describe_probe("c", result).finding


@pytest.mark.parametrize(
    ("usages", "planned", "status", "text"),
    [
        ([(2, 40, 40), (500, 1_500, 1_500)], 0, "ok", "exactly"),
        ([(2, 40, 180), (500, 1_500, 36_500)], 0, "warn", "+ 70 per document"),
        ([(2, 40, 60), (500, 1_500, 6_500)], 14, "ok", "+ 10 per document, as planned"),
        ([(2, 40, 30), (500, 1_500, 1_001)], 0, "ok", "plans overestimate"),
        ([(2, 40, 50), (500, 1_500, 1_900)], 0, "warn", "1.27 times"),
    ],
)
def test_usage_is_compared_with_the_formula(
    usages: list[tuple[int, int, int]], planned: int, status: str, text: str
) -> None:
    finding = describe_usage(
        "tokens", [Usage(*usage) for usage in usages], planned_overhead=planned, profile=QWEN
    )

    assert finding.status == status
    assert text in finding.finding


def test_every_provider_can_be_checked() -> None:
    from jobs.doctor.command import doctor

    (provider,) = [option for option in doctor.params if option.name == "provider"]
    assert list(provider.type.choices) == list(PROVIDERS)  # type: ignore[attr-defined]
