"""Cohere v2: flat request, flat answer; every document is scored if `top_n` says so.

Shapes: cohere-ai/cohere-python at bc495daa; limits: docs.cohere.com, page
`reranking-best-practices` (2026). A document longer than `max_tokens_per_doc` is cut by the
service, which scores its chunks and keeps the highest score. Errors are `{id, message}` without a
code. The quota of a trial key is per minute and per month; used up for the month it is for good.
"""

from pipeline.service.wire.answer_shapes import META
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n")

COHERE = WireFormat(
    name="cohere",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=META,
    refusals=RefusalCodes(
        free_quota_text="calls / month", size_texts=("too many documents", "max number of")
    ),
)
