"""Read by a server's interpreter when it starts: the machine's clock is `SKEW` seconds ahead."""

import os
import time

_original = time.time
time.time = lambda: _original() + float(os.environ.get("SKEW", "0"))
