"""Settings of a process for speed: a cache of compiled programs, memory kept between steps, linear algebra in one thread.

`use_compile_cache`, `keep_memory` and `give_back_memory` act on the whole process (JAX's configuration, glibc's allocator).
Worker processes and the command line call them, library functions never do. `one_thread` is a context manager and restores
what was set. None of them raises: where something is not available, work continues without it. The environment variable
`NAS_CACHE` is only read: another folder than the user's cache, or `off`.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import hashlib
import logging
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

COMPILED_BYTES = 2 << 30  # of XLA programs; the least recently used go first
LEAST_COMPILE_S = 0.1  # what compiles faster is not worth a file
SKLEARN_SETS = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")  # set where it or threadpoolctl is imported
_log = logging.getLogger("nas")


@contextmanager
def environment_kept(*names: str) -> Iterator[None]:
    """Puts environment variables back that a library sets when it is imported; all others are left alone."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


@cache
def cache_folder(kind: str) -> Path | None:
    """A folder for compiled code that nobody but this user can write: what lies in it is run.

    Its path holds a fingerprint of the processor: code compiled for another one may crash this one.

    Args:
        kind: What compiled it; one folder for each.

    Returns:
        The folder; None if caching is off, or the folder cannot be written or is not the user's own.
    """
    if os.environ.get("NAS_CACHE", "") == "off":
        return None
    folder = _base() / f"{kind}-{processor()}"
    try:
        return _owned(folder)
    except PermissionError as error:
        _log.warning("no cache of compiled programs: %s: %s", folder, error.strerror)
    except OSError as error:
        _log.info("no cache of compiled programs: %s: %s", folder, error.strerror)
    return None


def own_folder() -> Path:
    """The user's own folder for locks on this machine: in the cache, or in the folder for temporary files under the user's number.

    Returns:
        The folder, which nobody else can write.

    Raises:
        OSError: Neither can be had.
    """
    try:
        return _owned(_base() / "locks")
    except OSError:
        return _owned(Path(tempfile.gettempdir()) / f"nas-{os.getuid() if hasattr(os, 'getuid') else 'user'}")


def _base() -> Path:
    chosen = os.environ.get("NAS_CACHE", "")
    if chosen and chosen != "off":
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas"


def _owned(folder: Path) -> Path:
    """The folder, made with mode 700 where it is missing. Raises OSError where others own or could have written it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if hasattr(os, "getuid"):
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it is not this user's own", str(folder))
        if found.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "others can write it; remove it, or give it mode 700", str(folder))
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    with tempfile.TemporaryFile(dir=folder):
        return folder


@cache
def processor() -> str:
    """Eight characters that differ where the instructions of two processors do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        facts = sorted({line for line in lines if line.split("\t")[0] in ("model name", "flags", "Features")})
    except OSError:
        facts = [platform.processor()]
    return hashlib.sha256("\n".join([platform.machine(), sys.platform, *facts]).encode()).hexdigest()[:8]


@cache
def use_compile_cache() -> Path | None:
    """Lets JAX keep compiled programs, bounded in size, for all processes of this user on this host.

    A folder or `JAX_ENABLE_COMPILATION_CACHE` that the user gave to JAX is left as it is.

    Returns:
        The folder; None without one, or if the user's own settings stay.
    """
    from importlib.metadata import version

    import jax

    chosen = jax.config.values
    if chosen["jax_compilation_cache_dir"] or not chosen["jax_enable_compilation_cache"]:
        return None
    folder = cache_folder(f"xla-{version('jaxlib')}-{jax.default_backend()}")
    if folder is None:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_COMPILE_S)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    jax.config.update("jax_raise_persistent_cache_errors", False)
    if _has("filelock"):  # JAX bounds a cache only with it
        jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
    return folder


def platform_fault() -> str | None:
    """Whether JAX can start what `JAX_PLATFORMS` names; it is started by the question.

    Returns:
        One line on what is wrong; None if nothing is, or JAX is not loaded here.
    """
    jax = sys.modules.get("jax")
    if jax is None:
        return None
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where the package of a known backend is not installed
        chosen, reason = jax.config.jax_platforms or "", (str(error).splitlines() or ["it is not installed"])[0]
        return f"JAX_PLATFORMS={chosen}: no such backend here: {reason}"
    return None


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


@cache
def keep_memory() -> bool:
    """Lets glibc keep freed memory, so that a step's temporary tensors do not come from the kernel anew, page by page.

    XLA on a CPU allocates them at every step; returned and faulted in again they took a quarter of a step's time. Called
    before threads are started.

    Returns:
        Whether all settings were accepted; False without glibc.
    """
    no_maps, no_trim, one_arena, ahead = (-4, 0), (-1, -1), (-8, 1), (-2, 64 << 20)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    done = [mallopt(*setting) == 1 for setting in (no_maps, no_trim, one_arena, ahead)]
    return all(done)


def give_back_memory() -> bool:
    """Hands memory that is free to the system, which `keep_memory` keeps for the next step: for the time between trainings.

    Cycles of objects that hold compiled programs are collected first.

    Returns:
        Whether there was something to hand back; False without glibc.
    """
    gc.collect()
    try:
        return ctypes.CDLL(None).malloc_trim(0) == 1
    except (AttributeError, OSError, TypeError):
        return False


@cache
def _pools() -> ThreadpoolController:
    with environment_kept(*SKLEARN_SETS):
        from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_pool_thread() -> AbstractContextManager[object]:
    """All pools of threads of this process, those of libraries loaded since too, at one thread."""
    with environment_kept(*SKLEARN_SETS):
        from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def one_thread() -> AbstractContextManager:
    """Linear algebra in one thread: sums in one order on every machine, and no threads that wait for busy trainings."""
    return _pools().limit(limits=1, user_api="blas")
