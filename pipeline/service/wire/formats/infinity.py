"""Infinity: flat request, flat answer; a repeated document is a string.

Shapes: michaelfeil/infinity at fcb951cb. More than 2,048 documents are refused with 422; a queue
of more than 32,000 items is answered with 429.
"""

from pipeline.service.wire.answer_shapes import FLAT
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n", return_documents="return_documents")

INFINITY = WireFormat(
    name="infinity",
    takes=_TAKES,
    encode=flat_encoder(_TAKES, raw_scores=False),
    answer=FLAT,
    refusals=RefusalCodes(),
)
