"""Quantize an ONNX graph statically to Q/DQ form with ONNX Runtime; shared by several options.

A ``QuantizeLinear`` and ``DequantizeLinear`` pair precedes every quantized layer. ONNX Runtime fuses the
pairs; TensorRT reads the precision from them. Knows graphs and rows; the option chooses the layers.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from framework.build.compression import Exported
from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet
from framework.core.store import RECORD

if TYPE_CHECKING:
    import numpy as np

GRAPH = "model.onnx"
Method = Literal["minmax", "entropy", "percentile"]


class RowReader:
    """ONNX Runtime's calibration reader: one unpadded row at a time, since padding would distort ranges."""

    def __init__(self, feeds: "Sequence[dict[str, np.ndarray]]") -> None:
        self.feeds = feeds
        self.set_range(0, len(feeds))

    def __len__(self) -> int:
        return len(self.feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Restrict reading to the rows from *start_index* up to *end_index*."""
        self._remaining = iter(self.feeds[start_index:end_index])

    def get_next(self) -> "dict[str, np.ndarray] | None":
        """Return the graph's inputs for the next row."""
        return next(self._remaining, None)


class Quantizer:
    """An exported graph and its calibration rows; quantizes all layers or some."""

    def __init__(self, exported: Exported, rows: Sequence[list[int]], cache: Path) -> None:
        """Open the graph in *exported* and check that it runs.

        Args:
            exported: its folder holds ``model.onnx``.
            rows: token ids to calibrate on.
            cache: a file for the measured ranges, so that they are measured once.

        Raises:
            StepError: the graph cannot be read, or has no layers to quantize.
        """
        self.file = exported.folder / GRAPH
        self.cache = cache
        # On a CPU, unsigned activations are faster, and embeddings are quantized too.
        self.symmetric = exported.export.symmetric_int8
        self.model = open_graph(self.file)
        self.weights = _weights(self.model, tables=not self.symmetric)
        if not self.weights:
            raise StepError(
                f"compression: {GRAPH} has no matrix product with constant weights to quantize; "
                "set compression=none"
            )
        self.layers = [*self.weights]
        _branch_off(self.model, self.weights)
        self.feeds = [feed(self._session(self.file), row) for row in rows]

    def quantize(
        self, output: Path, layers: Sequence[str], method: Method, percentile: float, per_channel: bool
    ) -> None:
        """Write the graph with *layers* in int8 to the file *output*.

        The first call must name all layers: it measures the ranges that later calls reuse.

        Raises:
            StepError: the graph has an operator that the quantizer does not support.
        """
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }
        try:
            with quiet():
                quantize_static(
                    _only(self.model, set(layers)),
                    output,
                    RowReader(self.feeds),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["MatMul", "Gemm", "Gather"],
                    per_channel=per_channel,
                    activation_type=QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_quantize=list(layers),
                    calibrate_method=methods[method],
                    calibration_cache_path=self.cache,
                    extra_options={
                        "ActivationSymmetric": self.symmetric,
                        "CalibPercentile": percentile,
                        "CalibStridedMinMax": 1,
                        "QuantizeBias": False,
                        # Outputs of layers stay in float.
                        "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
                    },
                )
        except Exception as error:  # ONNX Runtime's quantizer raises exceptions of many types
            raise StepError(f"compression: {GRAPH} cannot be quantized: {first_line(error)}") from error

    def logits(self, graph: Path) -> "list[np.ndarray]":
        """Return the logits of *graph* for each row, float32."""
        session = self._session(graph)
        with quiet():
            name = session.get_outputs()[0].name  # logits or embeddings; a cache follows
            return [session.run([name], feed)[0] for feed in self.feeds]

    def _session(self, graph: Path) -> Any:
        from framework.build.engine.onnx_session import open_session

        return open_session(graph, threads=0)


@contextmanager
def prepared_output(exported: Exported, output: Path) -> Iterator[Path]:
    """Copy everything except the graph to *output*; yield a temporary folder."""
    ignored = shutil.ignore_patterns(f"{GRAPH}*", "*.engine", RECORD)
    shutil.copytree(exported.folder, output, dirs_exist_ok=True, ignore=ignored)
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def open_graph(file: Path) -> Any:
    """Return the ``onnx.ModelProto`` in *file*; nodes are named, inner shapes removed.

    Raises:
        StepError: onnx cannot read the file, or does not know an operator.
    """
    import onnx

    try:
        model = onnx.load(file)
        onnx.checker.check_model(model)
    except Exception as error:  # of protobuf, onnx or the file system
        raise StepError(
            f"{file}: onnx cannot read it: {first_line(error)}; remove the export from the store and export "
            "the model again"
        ) from error
    # The exporter's recorded shapes contradict those of the quantized graph.
    del model.graph.value_info[:]
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def _weights(model: Any, tables: bool) -> dict[str, str]:
    """Return the constant matrix of every product, by node name, in the graph's order.

    *tables* includes embeddings, which are looked up instead of multiplied.
    """
    from onnx import TensorProto

    constant = {
        tensor.name
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == TensorProto.FLOAT
    }
    matrix_input = {"MatMul": 1, "Gemm": 1} | ({"Gather": 0} if tables else {})
    return {
        node.name: node.input[matrix_input[node.op_type]]
        for node in model.graph.node
        if node.op_type in matrix_input and node.input[matrix_input[node.op_type]] in constant
    }


_BRANCH = "_to_int8"


def _branch_off(model: Any, weights: dict[str, str]) -> None:
    """Insert a copy of each input of a layer; layers with the same input share the copy.

    The quantizer rounds a tensor for all of its readers, but sums and norms must read the float tensor.
    """
    from onnx import helper

    nodes = []
    copied = set()
    for node in model.graph.node:
        if node.name in weights and node.op_type != "Gather":
            before = node.input[0]
            if before not in copied:
                copied.add(before)
                nodes.append(helper.make_node("Identity", [before], [before + _BRANCH], before + _BRANCH))
            node.input[0] = before + _BRANCH
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _only(model: Any, layers: set[str]) -> Any:
    """Return a copy of *model* in which only *layers* read the copied inputs."""
    from copy import deepcopy

    copy = deepcopy(model)
    branches = {node.output[0]: node.input[0] for node in copy.graph.node if node.name.endswith(_BRANCH)}
    read = set()
    for node in copy.graph.node:
        if node.name not in layers and node.input and node.input[0] in branches:
            node.input[0] = branches[node.input[0]]
        read.update(node.input)
    kept = [
        node for node in copy.graph.node if not (node.name.endswith(_BRANCH) and node.output[0] not in read)
    ]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def feed(session: Any, row: list[int]) -> "dict[str, np.ndarray]":
    """Return the graph's inputs for one row of token ids; a decoder's cache is empty.

    Raises:
        StepError: the graph has an input that a row does not provide.
    """
    import numpy as np

    ids = np.asarray([row], np.int64)
    values = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
        "position_ids": np.arange(ids.shape[1], dtype=np.int64)[None],
    }
    feeds = {}
    for spec in session.get_inputs():
        if spec.name.startswith("past"):
            batch, heads, _, width = spec.shape
            feeds[spec.name] = np.zeros((batch if isinstance(batch, int) else 1, heads, 0, width), np.float32)
        elif spec.name in values:
            feeds[spec.name] = values[spec.name]
        else:
            raise StepError(
                f"compression: {GRAPH} has the input {spec.name}, which training rows do not provide; "
                "set compression=int8-dynamic"
            )
    return feeds
