"""The peak memory of this process, resettable, so that each step is charged with its own.

Linux counts the peak in ``/proc/self/status`` (``VmHWM``) and lets a process reset it through
``/proc/self/clear_refs`` (proc(5)); elsewhere the peak since the process began is what there is.
"""

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

_USED_V1 = "memory/memory.usage_in_bytes"


def reset_peak_memory() -> None:
    """Give back what is free and begin a new peak, where the system can.

    The C library keeps freed blocks for later; without ``malloc_trim`` (malloc_trim(3), glibc) one
    step would be charged with the memory of the step before it, and would keep it from the system.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Return the highest resident memory since the last reset, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Return the memory that this process holds now, in bytes; the peak where the system does not say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return peak_memory()


def available_memory() -> float:
    """Return the bytes that this process may still take: the machine's, or its control group's if fewer.

    See cgroups(7); infinity where the system does not say.
    """
    free = float("inf")
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024.0
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", _USED_V1)):
        with contextlib.suppress(OSError, ValueError):
            group = Path("/sys/fs/cgroup")
            free = min(free, float(int((group / limit).read_text()) - int((group / used).read_text())))
    return free
