"""Jina: flat request, flat answer; errors are `{detail}`.

Shapes: services as read in langgenius/dify-official-plugins #1799, where `return_documents` became
false by default. The v3 models are listwise: a score depends on all documents of its request.
"""

from pipeline.service.wire.answer_shapes import FLAT
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n", return_documents="return_documents")

JINA = WireFormat(
    name="jina",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=FLAT,
    refusals=RefusalCodes(),
)
