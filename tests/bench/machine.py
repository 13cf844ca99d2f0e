"""What ran: the kernel behind NumPy, threads, versions, and settings that slow them down."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

PACKAGES = ("numpy", "lora_ref", "torch", "peft", "loralib", "threadpoolctl")

OVERRIDES = (
    "OPENBLAS_CORETYPE",  # another kernel than the processor's own
    "OPENBLAS_L2_SIZE",  # other block sizes
    "NPY_",  # dispatch of NumPy's own loops
    "NVPL_",
    "MKL_DEBUG_",
    "MKL_ENABLE_",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "MALLOC_",  # when freed memory goes back to the system
)
"""Beginnings of environment variables that change what is measured."""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas() -> dict[str, Any]:
    """Return the library behind `numpy.matmul`: kernel and threads where threadpoolctl is there.

    Without it, what NumPy was built with; a library for many processors then chose its kernel when
    it was loaded, and does not say which.
    """
    if find_spec("threadpoolctl"):
        from threadpoolctl import threadpool_info

        for pool in threadpool_info():
            if pool["user_api"] == "blas":
                said = {"kernel": "architecture", "threads": "num_threads"}
                names = {"name": "internal_api", "version": "version", **said}
                return {name: pool.get(key) for name, key in names.items()}
    built: Any = np.show_config(mode="dicts")
    built = built["Build Dependencies"]["blas"]
    kept = {name: built.get(name) for name in ("name", "version", "openblas configuration")}
    return {**kept, "kernel": "not known without threadpoolctl"}


def blas_threads() -> int:
    """Return how many threads NumPy's products use, as far as can be told."""
    said = blas().get("threads")
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        said = said or (int(os.environ[name]) if os.environ.get(name, "").isdigit() else None)
    return min(int(said or cores()), cores())


def can_set_threads() -> bool:
    """Return whether `use_blas_threads` can keep its word."""
    return find_spec("threadpoolctl") is not None


def use_blas_threads(threads: int) -> int:
    """Let products use that many from now on, where that can be set; return how many they had."""
    had = blas_threads()
    if not can_set_threads():
        return 1
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    return had


def overrides() -> list[str]:
    """Return the settings of the environment that change what is measured."""
    return sorted(
        f"{name}={value}" for name, value in os.environ.items() if name.startswith(OVERRIDES)
    )


def describe() -> dict[str, Any]:
    """Return all of it, as plain data."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": cores(),
        "load": load,
        "blas": blas(),
        "threads": blas_threads(),
        "versions": versions,
        "overrides": overrides(),
    }
