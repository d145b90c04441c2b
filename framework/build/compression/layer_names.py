"""The names that a model's layers have in PyTorch, for an exporter's graph that has lost them."""

import hashlib
from pathlib import Path
from typing import Any


def layer_names(model: Any, weights: dict[str, str], source: Path) -> dict[str, str]:
    """Return for each node in *weights* the name of the module whose weight it has, or its own.

    Args:
        model: an ``onnx.ModelProto`` with its weights.
        weights: the name of each node's constant matrix.
        source: the Hugging Face folder that was exported; a weight is known by its bytes.
    """
    import numpy as np
    from onnx import numpy_helper
    from safetensors import safe_open

    known: dict[str, str] = {}
    for file in sorted(source.glob("*.safetensors")):
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no mapping
                if len(opened.get_slice(name).get_shape()) == 2:
                    weight = opened.get_tensor(name)
                    known[_digest(weight)] = known[_digest(weight.T)] = name.removesuffix(".weight")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, str] = {}
    for layer, weight in weights.items():
        array = np.asarray(numpy_helper.to_array(constants[weight]))
        name = known.get(_digest(array), layer)
        # Equal weights have equal names: the second of them keeps its node's.
        found[layer] = layer if name in found.values() else name
    return found


def _digest(array: Any) -> str:
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
