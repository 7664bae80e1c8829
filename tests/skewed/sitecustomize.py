"""Read by a server's interpreter when it starts: the machine's clock is `SKEW` seconds ahead."""

import os
import time

_original, _ahead = time.time, float(os.environ["SKEW"])
time.time = lambda: _original() + _ahead
