"""Peak, resident and available memory of this process; the peak can be reset, to measure each step.

Linux reports the peak in ``/proc/self/status`` (``VmHWM``), and a process can reset it through
``/proc/self/clear_refs`` (proc(5)). Other systems report the peak since the process started.
"""

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

_USED_V1 = "memory/memory.usage_in_bytes"


def reset_peak_memory() -> None:
    """Return free memory to the system and reset the peak, if the system supports it.

    The C library keeps freed blocks for reuse. Without ``malloc_trim`` (malloc_trim(3), glibc) a step's
    peak would include memory of the previous step.
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
    """Return the resident memory of this process in bytes; the peak if the system does not report it."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return peak_memory()


def available_memory() -> float:
    """Return the bytes that this process can still allocate: the minimum of machine and control group.

    See cgroups(7). Infinity if the system does not report it.
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
