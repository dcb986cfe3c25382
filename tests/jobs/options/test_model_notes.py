"""A doubtful model is spoken of before anything is paid."""

import pytest
from support.group_world import make_settings

from jobs.options.model_notes import model_notes
from pipeline.core.providers import PROVIDERS


def notes(provider: str, model: str) -> list[str]:
    preset = PROVIDERS[provider]
    settings = make_settings()
    return list(
        model_notes(
            type(settings)(provider=preset, profile=preset.profile(model), url="http://s.invalid")
        )
    )


def test_a_model_that_only_another_region_publishes_is_doubtful() -> None:
    (note,) = notes("dashscope", "gte-rerank-v2")

    assert note == "dashscope does not publish gte-rerank-v2, only qwen3-rerank"
    assert notes("dashscope-cn", "gte-rerank-v2") == []


@pytest.mark.parametrize("model", ["qwen3-rerankk", "Qwen3-Rerank", "qwen3_rerank"])
def test_a_name_that_is_close_to_a_known_one_is_doubtful(model: str) -> None:
    (note,) = notes("dashscope", model)

    assert note.startswith(f"{model} is not known, did you mean qwen3-rerank?")


def test_other_models_and_those_of_own_servers_are_taken_without_a_word() -> None:
    assert notes("dashscope", "something-else-entirely") == []
    assert notes("vllm", "qwen3-rerankk") == []
    assert notes("dashscope", "qwen3-rerank") == []
