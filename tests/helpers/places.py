"""Where the checkout and the helpers of the tests stand."""

from __future__ import annotations

import os
from pathlib import Path

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parents[1]
# For processes that import both nas and a plugin of the tests.
PYTHONPATH = os.pathsep.join([str(HELPERS), str(ROOT)])
