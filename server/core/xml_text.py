"""Text that every parser of XML 1.0 reads back."""

import re

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0, section 2.2


def xml_text(text: str) -> str:
    """`text` without what XML 1.0 forbids: ElementTree writes it, and no parser reads it."""
    return _FORBIDDEN.sub("", text)
