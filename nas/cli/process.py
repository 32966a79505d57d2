"""What a command line sets in its own process, which no library call may: environment variables that JAX reads when it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from nas.records import JSON


def settle_process(command: str, config: Mapping[str, JSON]) -> None:
    """Leaves accelerators to worker processes where there are any, and bounds the threads of XLA where work is done here.

    Must run before JAX starts its backend. Workers get the user's own JAX_PLATFORMS, which is in NAS_WORKER_PLATFORMS.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    executor = (config.get("executor") or {}).get("name")
    if executor == "local" or command == "train":
        threads = config.get("threads") or (config.get("search") or {}).get("threads")
        if threads:
            os.environ["NPROC"] = str(threads)
    elif executor is not None:
        os.environ["JAX_PLATFORMS"] = "cpu"
