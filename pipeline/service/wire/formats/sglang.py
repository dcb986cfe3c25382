"""SGLang: flat request, a bare array as answer, without token counts.

Shapes: sgl-project/sglang PR 16403. `return_documents` is true by default.
"""

from pipeline.service.wire.answer_shapes import ARRAY
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n", instruct="instruct", return_documents="return_documents")

SGLANG = WireFormat(
    name="sglang",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=ARRAY,
    refusals=RefusalCodes(invalid=frozenset({"badrequesterror"})),
)
