"""curator: an `LLM` told the quota; a group is a chat message that holds JSON."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from groups import MODEL, Arguments, iter_groups, scores_in_order, write_line

# Its token counts need a vocabulary, which it would fetch; litellm, which it stands on, has it.
os.environ["TIKTOKEN_CACHE_DIR"] = str(
    Path(find_spec("litellm").origin).parent / "litellm_core_utils" / "tokenizers"
)

from bespokelabs import curator
from datasets import Dataset

NO_TOKEN_LIMIT = 10**12


class Reranker(curator.LLM):
    """Asks for the scores of a row's documents."""

    def prompt(self, input: dict[str, Any]) -> str:
        return input["question"]

    def parse(self, input: dict[str, Any], response: str) -> dict[str, Any]:
        return {
            "query_id": input["query_id"],
            "scores": scores_in_order(json.loads(response)["results"]),
        }


def main(arguments: Arguments) -> None:
    rows = [
        {"query_id": group.query_id, "question": json.dumps(group.question())}
        for group in iter_groups(arguments.source)
    ]
    reranker = Reranker(
        model_name=MODEL,
        backend="openai",
        backend_params={
            "base_url": f"{arguments.url}/v1",
            "api_key": "sk-bench",
            "max_requests_per_minute": arguments.per_minute,
            "max_tokens_per_minute": NO_TOKEN_LIMIT,
            "max_concurrent_requests": arguments.in_flight,
            "require_all_responses": False,
        },
    )
    result = reranker(Dataset.from_list(rows), working_dir=str(arguments.output / "_curator"))
    with (arguments.output / "answers.jsonl").open("w") as sink:
        for row in result.dataset:
            write_line(sink, row["query_id"], row["scores"])


main(Arguments.read())
