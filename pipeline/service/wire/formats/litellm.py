"""LiteLLM's proxy: Cohere's shape in front of any service; errors in the form of OpenAI's.

Shapes: docs.litellm.ai, page `rerank` (2026). It counts tokens under `meta.tokens` where the
service behind it does, and drops that service's Retry-After. Without a database it answers a wrong
key with 400 and type `no_db_connection`, and no key with 500 (observed with 1.106.2).
"""

from pipeline.service.wire.answer_shapes import META
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n", return_documents="return_documents")

LITELLM = WireFormat(
    name="litellm",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=META,
    refusals=RefusalCodes(
        throttled={"throttling_error": "requests"}, refused=frozenset({"no_db_connection"})
    ),
)
