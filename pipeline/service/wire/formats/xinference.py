"""Xinference: flat request, flat answer; its faults are `{detail}` with 500.

Shapes: xorbitsai/inference at 7ecec16b. Older servers answer without results unless `top_n` is
given (#2939). Tokens are counted under `meta.tokens` if `return_len` asks for them.
"""

from pipeline.service.wire.answer_shapes import META
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n", return_documents="return_documents")

XINFERENCE = WireFormat(
    name="xinference",
    takes=_TAKES,
    encode=flat_encoder(_TAKES, return_len=True),
    answer=META,
    refusals=RefusalCodes(),
)
