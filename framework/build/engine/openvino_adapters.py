"""LoRA adapters beside a release on OpenVINO GenAI: a pipeline for the release, and one for each adapter.

The runtime can change an adapter between two answers, but requests that join a running batch ignore it, and
its prefix cache gives one adapter's keys to another. So each pipeline has one adapter from its start to its
end. Its weights are in memory once more, and it has a key-value cache of its own.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.engine import GREEDY, Batches, Progress, Sampling
from framework.build.engine.attached_adapter import WEIGHTS
from framework.build.engine.model_folder import ADAPTER_CONFIG, read_json
from framework.build.engine.named_adapters import refuse_others
from framework.core.error_text import first_line
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np
    import openvino

_BEFORE, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
"""Around a layer's name in the file that peft writes; A maps down to the rank, and B up again."""
_LAYER = "__module.model."
"""Before a layer's name in a graph of our export."""
_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class AdaptedPipelines:
    """Answers several requests at once, each with the adapter that was chosen before it."""

    def __init__(self, pipelines: Mapping[str | None, Batches]) -> None:
        """Use no adapter yet.

        Args:
            pipelines: that of each adapter, and that of the release under None.
        """
        self._pipelines, self._chosen = pipelines, pipelines[None]
        self.width, self.joins = self._chosen.width, self._chosen.joins
        self._running: dict[int, Batches] = {}

    def use(self, adapter: str | None) -> None:
        """Answer requests that are submitted next with *adapter*, None with the release alone."""
        self._chosen = self._pipelines[adapter]

    def refuses(self, sampling: Sampling) -> str | None:
        """Return the first field that the runtime does not know; see ``Batches``."""
        return self._chosen.refuses(sampling)

    def submit(
        self, request: int, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> None:
        """Add a request; see ``Batches``."""
        self._chosen.submit(request, prompt, max_new_tokens, sampling)
        self._running[request] = self._chosen

    def step(self) -> list[Progress]:
        """Generate the next tokens, one pipeline after another; see ``Batches``."""
        progress = [each for pipeline in self._pipelines.values() for each in pipeline.step()]
        for each in progress:
            if each.ended:
                del self._running[each.request]
        return progress

    def cancel(self, request: int) -> None:
        """Remove a request; see ``Batches``."""
        if pipeline := self._running.pop(request, None):
            pipeline.cancel(request)


def read_adapters(graph: Path, adapters: Mapping[str, Path]) -> "dict[str, openvino.Tensor]":
    """Return each adapter as the runtime reads it: a file of safetensors, scaled for an alpha of 1.

    Args:
        graph: the release's.
        adapters: the folder of each.

    Raises:
        ServeError: an adapter is no LoRA, would change the bare model, or does not match the graph.
    """
    import numpy as np
    import openvino

    layers = _layers(graph)
    if not layers:
        raise ServeError(
            f"{graph}: no layer has a name, so no adapter can be matched; export the model again"
        )
    return {
        name: openvino.Tensor(np.frombuffer(_scaled(folder, layers), np.uint8))
        for name, folder in adapters.items()
    }


def _layers(graph: Path) -> dict[str, tuple[int, int]]:
    """Return the numbers of outputs and inputs of each layer that multiplies with a matrix."""
    import openvino

    found = {}
    for node in openvino.Core().read_model(graph).get_ops():
        layer, slash, _ = node.get_friendly_name().partition("/")
        if node.get_type_name() == "MatMul" and slash and layer.startswith(_LAYER):
            sizes = node.get_output_partial_shape(0)[-1], node.get_input_partial_shape(0)[-1]
            if all(size.is_static for size in sizes):
                outputs, inputs = (size.get_length() for size in sizes)
                found[layer.removeprefix(_LAYER)] = outputs, inputs
    return found


def _scaled(folder: Path, layers: Mapping[str, tuple[int, int]]) -> bytes:
    """Return the adapter's file in float32, with its scale in the matrices B."""
    import numpy as np
    from safetensors.numpy import save

    refuse_others(folder)
    body = read_json(folder, ADAPTER_CONFIG)
    for field in ("use_dora", "alpha_pattern", "fan_in_fan_out"):
        if body.get(field):
            raise ServeError(
                f"{folder / ADAPTER_CONFIG}: {field} is not possible beside an OpenVINO release; build the "
                "release with export=transformers, or an adapter of its own as a merged release"
            )
    left, scaled = _read(folder / WEIGHTS), dict[str, np.ndarray]()
    for name in sorted({key.removeprefix(_BEFORE).removesuffix(_DOWN) for key in left} & layers.keys()):
        keys = f"{_BEFORE}{name}{_DOWN}", f"{_BEFORE}{name}{_UP}"
        down, up = (left.pop(key, None) for key in keys)
        rank, (outputs, inputs) = 0 if down is None else len(down), layers[name]
        if down is None or up is None or (up.shape, down.shape) != ((outputs, rank), (rank, inputs)):
            raise ServeError(f"{folder}: the adapter does not match the model: {name} has other sizes there")
        scale = body["lora_alpha"] / (math.sqrt(rank) if body.get("use_rslora") else rank)
        scaled |= dict(zip(keys, (down, up * up.dtype.type(scale)), strict=True))
    for key in sorted(left):
        raise ServeError(f"{folder}: the adapter does not match the model: {key} is of no layer of its graph")
    return bytes(save(scaled))


def _read(file: Path) -> "dict[str, np.ndarray]":
    """Return the file's matrices in float32, without torch, which the server does not need here.

    Raises:
        ServeError: it is broken, or has other types.
    """
    import numpy as np
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    except (OSError, SafetensorError) as error:
        raise ServeError(f"{file}: cannot be read: {first_line(error)}") from error
    matrices = {}
    for key, entry in entries:
        if entry["dtype"] not in _TYPES:
            raise ServeError(f"{file}: {key} is of type {entry['dtype']}; an adapter has floats")
        stored: Any = np.frombuffer(entry["data"], _TYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        matrices[key] = np.ascontiguousarray(stored, np.float32)
    return matrices
