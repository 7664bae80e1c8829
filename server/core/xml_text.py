"""Text that every parser of XML 1.0 reads back."""

import re

# Characters that XML 1.0 forbids (section 2.2).
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def xml_text(text: str) -> str:
    """Return `text` without characters that XML 1.0 forbids: ElementTree would write them, but no parser
    reads them.
    """
    return _FORBIDDEN.sub("", text)
