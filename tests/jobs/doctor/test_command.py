"""`rerank doctor` against services that are healthy, faulty or missing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.logging_state import restored_logging
from support.real_runs import service

from jobs.cli import main
from jobs.emulator.distortions import DISTORTIONS
from pipeline.core.providers import EMULATOR_PATH, PROVIDERS

KEY = "sk-of-the-doctor-0123456789"
ALL = ["settings", "address", "clock", "answer", "repeat", "documents", "long document", "tokens"]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with restored_logging():
        yield


@pytest.fixture(scope="module")
def healthy() -> Iterator[str]:
    with service("--api-key", KEY) as running:
        yield running.address + EMULATOR_PATH


@contextmanager
def faulty(*options: str) -> Iterator[str]:
    with service(*options) as running:
        yield running.address + EMULATOR_PATH


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
    assert cost.startswith("cost: 9 requests, "), "a witness for the refusal of too many documents"


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
    assert statuses(facts) == dict.fromkeys(ALL[:3], "ok") | {"answer": "fail"}
    assert "check the key, its region and its workspace" in found(facts, "answer")
    assert "sk-another" not in output


def test_a_wrong_key_may_be_one_of_the_other_region(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--provider", "dashscope-cn", "--url", healthy, key="another")

    assert code == 4
    assert "a key of the other region works with --provider dashscope" in found(facts, "answer")


def test_an_output_that_can_be_written_is_left_as_it_was(
    doctor: Any, healthy: str, tmp_path: Path
) -> None:
    for output in (tmp_path, tmp_path / "new"):
        code, facts, _ = doctor("--url", healthy, "--output", str(output))

        assert code == 0
        assert statuses(facts)["output"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_reported(
    doctor: Any, healthy: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    code, facts, _ = doctor("--url", healthy, "--output", str(tmp_path / "file" / "out"))

    assert code == 1
    assert str(tmp_path / "file") in found(facts, "output")


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
def test_an_unreachable_address_is_exit_8(doctor: Any, url: str, why: str) -> None:
    code, facts, output = doctor("--url", url)

    assert code == 8
    assert statuses(facts) == {"settings": "ok", "address": "fail"}
    assert why in found(facts, "address")
    assert output.count("rerank: error:") == 1


def test_the_proxy_is_named_without_its_password(
    doctor: Any, healthy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = healthy.removesuffix(EMULATOR_PATH)
    monkeypatch.setenv("HTTP_PROXY", where.replace("http://", "http://user:p-of-the-proxy@"))

    code, facts, output = doctor("--url", f"http://service.invalid{EMULATOR_PATH}")

    assert code == 0
    host_and_port = where.removeprefix("http://")
    assert f"the proxy {host_and_port} (HTTP_PROXY) in " in found(facts, "address")
    assert "p-of-the-proxy" not in output


def test_a_port_without_tls_is_reported(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy.replace("http://", "https://"))

    assert code == 8
    assert "no TLS with 127.0.0.1" in found(facts, "address")


def test_a_wrong_path_is_reported(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy + "/typo")

    assert code == 4
    assert "check --model and --url" in found(facts, "answer")


def test_an_unknown_model_is_reported(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy, "--model", "qwen9-rerank")

    assert code == 4
    assert "does not exist" in found(facts, "answer")


def test_an_html_page_instead_of_an_answer_is_exit_4(doctor: Any) -> None:
    with faulty("--fault", "html-in-200") as url:
        code, facts, output = doctor("--url", url)

    assert code == 4
    assert "HTTP 200, not_json: a page of HTML" in found(facts, "answer")
    assert "--url and --provider" in output


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


def test_a_model_of_fewer_documents_is_probed_too(doctor: Any, healthy: str) -> None:
    code, facts, _ = doctor("--url", healthy, "--model", "qwen3-vl-rerank", "--comparability")

    assert code == 0
    assert set(statuses(facts).values()) == {"ok"}
    assert "100 are accepted, 101 are refused" in found(facts, "documents")


@pytest.mark.parametrize(
    ("provider", "path", "most_usd"), [("jina", "/v1/rerank", 0.0), ("cohere", "/v2/rerank", 0.1)]
)
def test_a_service_is_checked_whatever_it_bills_by(
    provider: str, path: str, most_usd: float, doctor: Any
) -> None:
    with service("--format", provider) as running:
        url = running.address + path
        code, facts, _ = doctor(
            *("--provider", provider, "--url", url, "--api-key-env", "DASHSCOPE_API_KEY"),
            "--comparability",
        )

    assert code == 0
    assert (facts["cost_usd"] > 0) is (most_usd > 0)
    assert facts["cost_usd"] <= most_usd


def test_every_provider_can_be_checked() -> None:
    from jobs.doctor.command import doctor

    (provider,) = [option for option in doctor.params if option.name == "provider"]
    assert list(provider.type.choices) == list(PROVIDERS)  # type: ignore[attr-defined]


def test_the_limits_that_are_checked_can_be_set(healthy: str, doctor: Any) -> None:
    limits = ("--max-documents", "20", "--max-tokens-per-document", "300")

    code, facts, _ = doctor("--url", healthy, *limits)

    assert code == 0
    assert found(facts, "documents").startswith("20 are accepted")
    assert found(facts, "long document").startswith("a document of 500 tokens is accepted")
