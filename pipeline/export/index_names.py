"""Names of indexes that Elasticsearch and OpenSearch accept.

elastic.co/docs/api/doc/elasticsearch, "Create an index", 2026-11.
"""

import re
from typing import Final

from pipeline.core.errors import SettingsError

_REFUSED: Final = re.compile(r'[A-Z\\/*?"<>| ,#:\x00-\x1f\x7f]|^[-_+]|^\.\.?$')
_MAX_BYTES: Final = 255


def check_index(name: str | None) -> str:
    """Return the name of an index.

    Raises:
        SettingsError: if there is none, or if search engines refuse it.
    """
    if not name:
        raise SettingsError("an index is needed", which="--index", cure="name one")
    if _REFUSED.search(name) or len(name.encode()) > _MAX_BYTES:
        raise SettingsError(
            "search engines refuse this name",
            which="--index",
            found=repr(name),
            expected='lower case, without blanks and \\ / * ? " < > | , # :',
        )
    return name
