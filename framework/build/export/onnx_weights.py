"""The weights of an ONNX graph in four or eight bits; activations stay in float.

Matrices become ``MatMulNBits``, which onnxruntime multiplies with as they are; tables that are looked up,
such as embeddings, a byte a value with a scale a row, in plain ONNX. It knows no model.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_LEAST_TABLE = 64 * 64
"""Values that a table must have to be worth two more operators."""
_COMPUTED_IN_INT8 = 4
"""MatMulNBits' level of accuracy at which activations are rounded to 8 bits block by block, as they come."""


def compress(file: Path, output: Path, bits: int, block_size: int | None) -> None:
    """Write the graph in *file* to *output* with its weights in *bits*.

    Args:
        file: a graph with float weights.
        output: the graph to write; it may be *file*.
        bits: 4 or 8, of matrices. Tables, and the matrix that gives the logits, always take 8.
        block_size: weights of a column that share a scale; the last block may be shorter. None takes the
            largest that divides every column, up to 128.

    Raises:
        StepError: *file* is broken, or no matrix in it is in float.
    """
    import onnx

    model = _load(file)
    _store_transposed(model.graph)
    if not (columns := _columns(model.graph)):
        raise StepError(
            f"compression=int{bits}-weight: no matrix of the graph is in float any more; leave out the "
            "compression before it"
        )
    whole = math.gcd(*columns)
    size = block_size or min(128, max(16, whole & -whole))
    head = [node.name for node in model.graph.node if "logits" in node.output]
    with quiet():
        for width, kept in ((bits, head), (8, [])):
            model = _in_blocks(model, width, size, kept)
    _compress_tables(model.graph)
    del model.graph.value_info[:]  # shapes and types of what stood there before
    beside = output.with_name(f"{output.name}.data")
    beside.unlink(missing_ok=True)
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > 2**31 - 2**24
    onnx.save(model, output, save_as_external_data=large, location=beside.name)


def _load(file: Path) -> "ModelProto":
    import onnx

    try:
        return onnx.load(file)
    except Exception as error:  # protobuf's exceptions share no public base
        raise StepError(f"{file}: no ONNX graph: {first_line(error)}; export the model again") from error


def _in_blocks(model: "ModelProto", bits: int, block_size: int, kept: list[str]) -> "ModelProto":
    """Return *model* with its float matrices, but for those of the nodes *kept*, as ``MatMulNBits``."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(
        model,
        bits=bits,
        block_size=block_size,
        is_symmetric=True,
        accuracy_level=_COMPUTED_IN_INT8,
        nodes_to_exclude=kept,
    )
    quantiser.process()
    changed: ModelProto = quantiser.model.model
    return changed


def _store_transposed(graph: "GraphProto") -> None:
    """Store what is multiplied with a table's transpose, as a head tied to an embedding is, by itself."""
    from onnx import numpy_helper

    tables = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    multiplied = {node.input[1] for node in graph.node if _multiplies(node)}
    for node in list(graph.node):
        if node.op_type == "Transpose" and node.input[0] in tables and node.output[0] in multiplied:
            turned = numpy_helper.to_array(tables[node.input[0]]).T.copy()
            graph.initializer.append(numpy_helper.from_array(turned, node.output[0]))
            graph.node.remove(node)


def _columns(graph: "GraphProto") -> list[int]:
    """Return the length of every float matrix's columns."""
    from onnx import TensorProto

    matrices = {
        tensor.name: tensor.dims[0]
        for tensor in graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    return [matrices[node.input[1]] for node in graph.node if _multiplies(node) and node.input[1] in matrices]


def _multiplies(node: "NodeProto") -> bool:
    return node.op_type == "MatMul" and not node.domain


def _compress_tables(graph: "GraphProto") -> None:
    """Give each float table that only ``Gather`` reads, by row, a byte a value and a scale a row."""
    from onnx import TensorProto

    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for table in list(graph.initializer):
        readers = users.get(table.name, [])
        if (
            len(table.dims) == 2
            and table.data_type == TensorProto.FLOAT
            and math.prod(table.dims) >= _LEAST_TABLE
            and readers
            and all(node.op_type == "Gather" and table.name == node.input[0] for node in readers)
            and not any(kept.name == "axis" and kept.i for node in readers for kept in node.attribute)
        ):
            _compress_table(graph, table, readers)


def _compress_table(graph: "GraphProto", table: "TensorProto", readers: "list[NodeProto]") -> None:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    values = numpy_helper.to_array(table)
    scales = np.maximum(np.abs(values).max(1), np.finfo(np.float32).tiny) / np.float32(127)
    rounded = np.rint(values / scales[:, None]).astype(np.int8)
    name, last = table.name, f"{table.name}.last_axis"
    table.CopyFrom(numpy_helper.from_array(rounded, name))
    graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), f"{name}.scales"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), last))
    for number, reader in enumerate(readers):
        parts = {part: f"{name}.{number}.{part}" for part in ("bytes", "floats", "scale", "column")}
        read, output = reader.input[1], reader.output[0]
        place = list(graph.node).index(reader)
        nodes = [
            helper.make_node("Gather", [name, read], [parts["bytes"]], parts["bytes"]),
            helper.make_node(
                "Cast", [parts["bytes"]], [parts["floats"]], parts["floats"], to=TensorProto.FLOAT
            ),
            helper.make_node("Gather", [f"{name}.scales", read], [parts["scale"]], parts["scale"]),
            helper.make_node("Unsqueeze", [parts["scale"], last], [parts["column"]], parts["column"]),
            helper.make_node("Mul", [parts["floats"], parts["column"]], [output], f"{name}.{number}"),
        ]
        del graph.node[place]
        for node in reversed(nodes):
            graph.node.insert(place, node)
