"""What functions take in several forms."""

from collections.abc import Mapping
from typing import Any

Settings = Mapping[str, Any]
