"""Find the PyTorch names of the layers of an exported graph, which has other names."""

import hashlib
from pathlib import Path
from typing import Any


def layer_names(model: Any, weights: dict[str, str], source: Path) -> dict[str, str]:
    """Return for each node in *weights* the name of the module with its weight, or the node's own name.

    Args:
        model: an ``onnx.ModelProto`` with its weights.
        weights: the name of each node's constant matrix.
        source: the Hugging Face folder that was exported; weights are matched by their bytes.
    """
    import numpy as np
    from onnx import numpy_helper
    from safetensors import safe_open

    modules: dict[str, str] = {}
    for file in sorted(source.glob("*.safetensors")):
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118  # not a mapping
                if len(opened.get_slice(name).get_shape()) == 2:
                    weight = opened.get_tensor(name)
                    modules[_digest(weight)] = modules[_digest(weight.T)] = name.removesuffix(".weight")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    names: dict[str, str] = {}
    for layer, weight in weights.items():
        array = np.asarray(numpy_helper.to_array(constants[weight]))
        name = modules.get(_digest(array), layer)
        # Equal weights match the same module: the second node keeps its own name.
        names[layer] = layer if name in names.values() else name
    return names


def _digest(array: Any) -> str:
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
