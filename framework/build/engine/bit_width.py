"""How many bits the weights in a folder's files really take, whatever its name claims.

Weights are the elements of tensors of two dimensions or more. Those with a row for each token of the
vocabulary are counted as embeddings, since most methods leave them in float. Scales, zero points and
tables of positions are none of either. It reads headers, not weights, but for 4-bit values that are
stored in a byte each, which are looked at.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.build.engine.model_folder import read_json
from framework.core.error_text import first_line
from framework.core.errors import ServeError

_ONNX_BITS = {1: 32, 2: 8, 3: 8, 10: 16, 11: 64, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4}
"""Bits of the element types of ``onnx.TensorProto`` that weights come in."""
_SAFETENSORS_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I8": 8,
    "U8": 8,
}
_TABLES = {"GroupQueryAttention", "RotaryEmbedding", "MultiHeadAttention"}
"""Operators whose two-dimensional constants are tables of sines and cosines."""
_BESIDE = {"Add", "Subtract", "Multiply", "Divide", "Power"}
"""Operators of OpenVINO whose second input is no weight."""


@dataclass
class Widths:
    """Weights by their bits."""

    matrices: Counter[int] = field(default_factory=Counter)
    """Elements by bits, of what is multiplied with."""
    embeddings: Counter[int] = field(default_factory=Counter)
    """Elements by bits, of tables with a row a token."""

    def add(self, shape: tuple[int, ...], bits: int, vocabulary: int | None) -> None:
        """Count one tensor of *shape*, in elements."""
        counted = self.embeddings if vocabulary in shape else self.matrices
        counted[bits] += math.prod(shape)

    def share(self, bits: int) -> float:
        """Return the share of the matrices' weights that take at most *bits*; 0 where there are none."""
        few = sum(count for width, count in self.matrices.items() if width <= bits)
        return few / total if (total := self.matrices.total()) else 0.0


def count_widths(folder: Path) -> Widths:
    """Open the files in *folder* that hold weights and count them.

    Raises:
        ServeError: a file is broken.
    """
    found, vocabulary = Widths(), read_json(folder, "config.json").get("vocab_size")
    kinds = {"*.onnx": _count_onnx, "*.safetensors": _count_safetensors, "*.xml": _count_openvino}
    for pattern, count in kinds.items():
        for file in sorted(folder.glob(pattern)):
            try:
                count(file, found, vocabulary)
            except Exception as error:  # each format's reader has exceptions of its own
                raise ServeError(f"{file}: its weights cannot be counted: {first_line(error)}") from error
    return found


def _count_onnx(file: Path, found: Widths, vocabulary: int | None) -> None:
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    packed: dict[str, tuple[tuple[int, ...], int]] = {}
    used, beside = set(), set()
    for node in graph.node:
        used.update(node.input)
        given = {part.name: onnx.helper.get_attribute_value(part) for part in node.attribute}
        if node.op_type == "MatMulNBits":
            packed[node.input[1]] = (given["N"], given["K"]), given.get("bits", 4)
            beside.update(node.input[2:])
        elif node.op_type == "GatherBlockQuantized":
            packed[node.input[0]] = (), given.get("bits", 4)
            beside.update(node.input[2:])
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            beside.update(node.input[1:])
        elif node.op_type in _TABLES:
            beside.update(node.input)
    for tensor in graph.initializer:
        bits, shape = _ONNX_BITS.get(tensor.data_type), tuple(tensor.dims)
        if tensor.name not in used - beside or bits is None or len(shape) < 2:
            continue
        if tensor.name in packed:
            whole, few = packed[tensor.name]
            # Several values to a byte; the last dimension is the packed one.
            found.add(whole or (*shape[:-1], shape[-1] * bits // few), few, vocabulary)
        else:
            found.add(shape, bits, vocabulary)


def _count_safetensors(file: Path, found: Widths, vocabulary: int | None) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        told: dict[str, str] = opened.metadata() or {}
        every = opened.keys()  # what is opened is no mapping
        names = [name for name in every if not name.endswith(("_scale", "_zero_point", "_zeros"))]
        for name in names:
            part = opened.get_slice(name)
            shape, bits = tuple(part.get_shape()), _SAFETENSORS_BITS.get(part.get_dtype())
            if name.endswith(".weight_packed"):
                rows, columns = opened.get_tensor(name.replace("_packed", "_shape")).tolist()
                shape, bits = (rows, columns), 32 * math.prod(shape) // (rows * columns)
            if bits is None or len(shape) < 2:
                continue
            if name.endswith("_weight_qdata") and _says_int4(told, name):
                values = part[:]
                bits = 4 if values.min() >= -8 and values.max() <= 7 else 8
            found.add(shape, bits, vocabulary)


def _says_int4(told: dict[str, str], name: str) -> bool:
    """Tell whether torchao's description of the tensor *name* names four bits."""
    described = json.loads(told.get(name.replace("._weight_qdata", ".weight"), "{}"))
    return bool(described.get("_data", {}).get("target_dtype", {}).get("_data") == "int4")


def _count_openvino(file: Path, found: Widths, vocabulary: int | None) -> None:
    import openvino

    for node in openvino.Core().read_model(file).get_ops():
        if node.get_type_name() != "Constant" or len(node.get_output_shape(0)) < 2:
            continue
        kind = node.get_element_type()
        whole = kind.get_type_name() == "boolean" or (kind.is_integral() and kind.bitwidth > 8)
        if not whole and not _only_scales(node):
            found.add(_ungrouped(tuple(node.get_output_shape(0))), kind.bitwidth, vocabulary)


def _only_scales(node: Any) -> bool:
    """Tell whether a constant is but a scale, zero point or bias: what is added or multiplied, second."""
    for target in node.output(0).get_target_inputs():
        user, place = target.get_node(), target.get_index()
        kind = user.get_type_name()
        beside = _only_scales(user) if kind == "Convert" else kind in _BESIDE and place == 1
        if not beside:
            return False
    return True


def _ungrouped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a matrix's shape where its columns are cut into groups: (rows, groups, columns) as (rows, …)."""
    return (shape[0], shape[1] * shape[2]) if len(shape) == 3 else shape
