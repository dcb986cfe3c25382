"""datatrove: `InferenceRunner` with checkpoints; a group is a chat message that holds JSON.

It is given the second loopback address, since it speaks to the first one, as to a model server on
the same machine, by other code, which takes a 429 for the end. This is the code that a remote
service meets.
"""

import json
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
from groups import MODEL, Arguments, iter_groups, scores_in_order

RECORDS_PER_CHUNK = 500


async def rollout(document: Document, generate: Any) -> list[float]:
    answer = await generate({"messages": [{"role": "user", "content": document.text}]})
    return scores_in_order(json.loads(answer.text)["results"])


def as_line(_writer: JsonlWriter, document: Document) -> dict[str, Any]:
    return {"query_id": document.id, "scores": document.metadata["rollout_results"][0]}


arguments = Arguments.read()
host = "127.0.0.1" if "local" in arguments.options else "127.0.0.2"
runner = InferenceRunner(
    rollout,
    InferenceConfig(
        server_type="endpoint",
        endpoint_url=arguments.url.replace("127.0.0.1", host) + "/v1",
        model_name_or_path=MODEL,
        api_key="sk-bench",
        max_concurrent_generations=arguments.in_flight,
        rollouts_per_document=1,
    ),
    output_writer=JsonlWriter(
        str(arguments.output),
        "${rank}_${chunk_index}.jsonl",
        compression=None,
        adapter=as_line,
    ),
    checkpoints_local_dir=str(arguments.output / "_checkpoints"),
    records_per_chunk=RECORDS_PER_CHUNK,
)
runner.run(
    Document(text=json.dumps(group.question()), id=group.query_id)
    for group in iter_groups(arguments.source)
)
