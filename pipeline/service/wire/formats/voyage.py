"""Voyage: `top_k` for `top_n`, results under `data`; errors are `{detail}`.

Shapes: docs.voyageai.com, page `reranker` (2026). With `truncation` a query or a document that is
too long is cut by the service; without it the request is refused.
"""

from pipeline.service.wire.answer_shapes import DATA
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_k", return_documents="return_documents")

VOYAGE = WireFormat(
    name="voyage",
    takes=_TAKES,
    encode=flat_encoder(_TAKES, truncation=True),
    answer=DATA,
    refusals=RefusalCodes(),
)
