"""Text that every parser of XML 1.0 reads back."""

import re

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # by XML 1.0, section 2.2


def xml_text(text: str) -> str:
    """`text` without what XML 1.0 forbids: ElementTree writes it, and no parser reads it."""
    return _FORBIDDEN.sub("", text)
