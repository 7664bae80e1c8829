"""The commands of `python -m server`, one module each.

In a checkout the Python client lies under `clients/python`; in an installed wheel beside `server`.
"""

import sys
from pathlib import Path

_CLIENT = Path(__file__).parents[2] / "clients" / "python"
if _CLIENT.is_dir() and str(_CLIENT) not in sys.path:
    sys.path.insert(1, str(_CLIENT))
