"""A server's interpreter reads this when it starts: from then on its clock is `SKEW` seconds ahead."""

import os
import time

_original = time.time
time.time = lambda: _original() + float(os.environ.get("SKEW", "0"))
