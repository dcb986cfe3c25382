"""SiliconFlow: as Cohere's first version, with `instruction` for Qwen3-Reranker models.

Shapes: docs.siliconflow.cn, page of the rerank API (2026). Answers count tokens under
`meta.tokens`; older ones have none there.
"""

from pipeline.service.wire.answer_shapes import META
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n", instruct="instruction", return_documents="return_documents")

SILICONFLOW = WireFormat(
    name="siliconflow",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=META,
    refusals=RefusalCodes(),
)
