"""Text Embeddings Inference: `texts` for `documents`, no model, a bare array as answer.

Shapes: huggingface/text-embeddings-inference at 0d124dc9. A request may hold 32 texts by default
(`--max-client-batch-size`); more are refused with 413 or 422 (caura-ai/caura #704). Each text takes
one of 512 permits (`--max-concurrent-requests`), so texts in flight are what is limited: the
request that finds none left is refused as `overloaded` with 429.
"""

from pipeline.service.wire.answer_shapes import ARRAY
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities()

TEI = WireFormat(
    name="tei",
    takes=_TAKES,
    encode=flat_encoder(
        _TAKES, documents="texts", model=None, truncate=True, raw_scores=False, return_text=False
    ),
    answer=ARRAY,
    refusals=RefusalCodes(
        throttled={"overloaded": "capacity"},
        transient=frozenset({"unhealthy", "backend"}),
        invalid=frozenset({"validation", "tokenizer", "empty"}),
    ),
    concurrency_unit="documents",
)
