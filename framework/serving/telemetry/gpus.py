"""GPU metrics of this machine, where NVIDIA's management library answers."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

from framework.core import metric_names as names


def watch_gpus(registry: Any) -> int:
    """Expose memory and utilization of each GPU that the process can see; return how many there are.

    Without the package ``nvidia-ml-py``, a driver or a GPU there are none, and no metric is added.

    Args:
        registry: a ``CollectorRegistry`` of prometheus_client.
    """
    if find_spec("pynvml") is None:
        return 0
    import pynvml

    try:
        pynvml.nvmlInit()
        gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return 0
    if not gpus:
        return 0
    from prometheus_client import Gauge

    memory = Gauge(names.GPU_MEMORY_BYTES, "GPU memory in use.", ["gpu"], registry=registry)
    busy = Gauge(names.GPU_UTILIZATION, "Share of the time a GPU is busy.", ["gpu"], registry=registry)

    def used(gpu: Any) -> float:
        return float(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)

    def utilization(gpu: Any) -> float:
        return float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu) / 100

    def read(measure: Callable[[Any], float], gpu: Any) -> float:
        with suppress(pynvml.NVMLError):
            return measure(gpu)
        return float("nan")  # some devices, such as shares of one, do not measure it

    for index, gpu in enumerate(gpus):
        memory.labels(str(index)).set_function(partial(read, used, gpu))
        busy.labels(str(index)).set_function(partial(read, utilization, gpu))
    return len(gpus)
