"""The environment of every test, set before anything imports JAX or Ray, and the fixtures that several files share."""

import atexit
import mmap
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

HELPERS = Path(__file__).parent / "helpers"
# One folder for the session: the processes that pytest-xdist starts inherit the name of the first one's.
if not (_CACHE := os.environ.get("NAS_TESTS_CACHE", "")):
    _CACHE = os.environ["NAS_TESTS_CACHE"] = tempfile.mkdtemp(prefix="nas-tests-")
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

os.environ.update(
    JAX_PLATFORMS="cpu",
    JAX_NUMPY_RANK_PROMOTION="raise",
    XDG_CACHE_HOME=_CACHE,  # compile caches: shared by the tests of one session, never the user's
    NAS_PAUSES="0",  # no test waits between the windows of a measurement
    KERAS_BACKEND="jax",
    KERAS_HOME=_CACHE,  # otherwise Keras writes its settings under the user's home
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",  # its default warns of a change to come, and warnings are errors here
    RAY_AUTH_TOKEN=secrets.token_hex(32),  # otherwise Ray writes a token under the user's home
)
# Tests compile hundreds of programs that run for milliseconds: XLA takes less than half the time where it optimizes little
# and emits loops in its older way. `make test-all` sets NAS_TESTS_XLA=full: programs are then compiled as for users.
LOOPS = "--xla_cpu_use_fusion_emitters=false"


def _knows(flag: str) -> bool:
    """XLA ends a process that names a flag which its release does not have."""
    folder = Path(next(iter(spec.submodule_search_locations or ()))) if (spec := find_spec("jaxlib")) else Path()
    for path in sorted(folder.glob("*.so"), key=lambda path: -path.stat().st_size)[:1]:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(flag.strip("-").partition("=")[0].encode()) >= 0
    return False


if os.environ.get("NAS_TESTS_XLA", "quick") != "full":
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    if LOOPS not in (given := os.environ.get("XLA_FLAGS", "")) and _knows(LOOPS):
        os.environ["XLA_FLAGS"] = f"{given} {LOOPS}".strip()
# Containers often set this; hundreds of processes would then compile every module of the project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.pop("HYDRA_FULL_ERROR", None)  # it would turn one-line messages into tracebacks

# Nothing depends on a clock or on chance: the same examples everywhere, every time. `make test-all` draws others
# (--hypothesis-profile=random); what one of those finds is kept as an @example.
settings.register_profile(
    "nas", deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("random", settings.get_profile("nas"), derandomize=False, max_examples=400)
settings.load_profile("nas")

OFFERED = ("controller", "dataset", "evaluator", "device")  # choices of the command line that a plugin adds to
NIGHTLY = Path(__file__).parent / "nightly"
RunNas = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what stands in tests/nightly. Of several processes, one runs a file, and one runs all that use Ray."""
    for item in items:
        if item.path.is_relative_to(NIGHTLY):
            item.add_marker("nightly")
        item.add_marker(pytest.mark.xdist_group("ray" if item.get_closest_marker("ray") else item.path.stem))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A local Ray of two CPUs, started once for all tests marked `ray`; gives the `ray` module."""
    import ray

    ray.init("local", num_cpus=2, resources={"board": 1}, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def ray_address(ray_cluster: Any) -> str:
    """`executor.address=` of that cluster, for commands: starting a cluster costs more than what most tests do on it."""
    return ray_cluster.get_runtime_context().gcs_address


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder in which the plugin of the tests can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HELPERS))
    monkeypatch.setattr(sys, "argv", ["nas"])
    return tmp_path


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """As `tmp_path`, in memory where the system has such a place: a journal's many commits wait for no disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None, prefix="nas-tests-") as name:
        yield Path(name)


@pytest.fixture
def run_nas(tmp_path: Path) -> RunNas:
    """Run a command as a user would: `run_nas("search", "trials=2", cwd=folder)`; `cwd` defaults to `tmp_path`."""

    def run(
        *args: str, cwd: Path | None = None, timeout_s: float = 300, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nas", *args],
            cwd=cwd or tmp_path,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture(autouse=True)
def registries_as_they_were() -> Iterator[None]:
    """A plugin that a test names adds to our registries for good; the next test finds them as they were."""
    from nas.core.plugins import REGISTRIES

    loaded = [getattr(sys.modules[module], name) for name, module in REGISTRIES.items() if module in sys.modules]
    if "hydra" in sys.modules:
        from hydra.core.config_store import ConfigStore

        loaded += [ConfigStore.instance().repo.setdefault(group, {}) for group in OFFERED]
    before = [dict(registry) for registry in loaded]
    yield
    for registry, entries in zip(loaded, before, strict=True):
        registry.clear()
        registry.update(entries)
