"""Export language models, classifiers and embedding models to OpenVINO IR, for CPUs."""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from framework.build.engine.pooling import EMBEDDINGS
from framework.build.export import Export
from framework.build.export.companion_files import copy_companions
from framework.build.export.tracing import Traceable, decoder, encoder, unsupported_cache
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

GRAPH = "openvino_model.xml"
"""The graph; its weights are in ``openvino_model.bin``."""


_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


class OpenVino(Export):
    """``openvino_model.xml`` and ``.bin``, compatible with OpenVINO Model Server and OpenVINO GenAI.

    Inputs are ``input_ids`` and ``attention_mask``, int64 (batch, sequence). The output ``logits`` is
    float32; of text embedding it is ``embeddings``, each of length 1. A language model keeps its key-value
    cache as state. It has the inputs ``position_ids``, if the model uses them, and ``beam_idx`` (batch,),
    the row of the state that each row continues.
    """

    engine: ClassVar[str] = "openvino"
    tasks: ClassVar[tuple[str, ...]] = (
        "causal-lm",
        "sequence-classification",
        "multi-label-classification",
        "token-classification",
        "text-embedding",
    )

    symmetric: bool = True
    """Whether 4-bit weights have only a scale per block, which is faster, or also a zero point, which is more
    accurate."""

    def requires(self) -> Mapping[str, str]:
        """Return OpenVINO and NNCF, which compresses its weights."""
        return {"openvino": "openvino", "nncf": "openvino"}

    def unsupported(self, model_config: Mapping[str, Any]) -> str:
        """Return that the model has experts, or a state without positions; see the base class."""
        if any(model_config.get(name) for name in _EXPERTS):
            return "openvino has no operator for a mixture of experts (aten::histc)"
        return unsupported_cache("openvino", model_config)

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Trace the model and write it as ``fp32``, ``fp16``, ``int8`` or ``int4``; see the base class."""
        from framework.build.engine.torch import open_model

        source = open_model(model)
        with quiet(), telemetry_off():
            traceable = decoder(source, "openvino") if source.can_generate() else encoder(source)
            graph = _convert(traceable, type(source).__name__)
            self._save(graph, output, precision, block_size)
        copy_companions(model, output)

    def compress_weights(
        self, exported: Path, model: Path, output: Path, precision: str, block_size: int = 32
    ) -> None:
        """Compress the weights of the graph in *exported*; see the base class."""
        import openvino

        with quiet(), telemetry_off():
            try:
                graph = openvino.Core().read_model(exported / GRAPH)
            except RuntimeError as error:
                raise StepError(
                    f"{exported / GRAPH}: OpenVINO cannot read it; export the model again"
                ) from error
            self._save(graph, output, precision, block_size)
        copy_companions(model, output)

    def _save(self, graph: Any, output: Path, precision: str, block_size: int) -> None:
        import nncf
        import openvino

        modes = nncf.CompressWeightsMode
        if precision in ("int8", "int4"):
            if not (lengths := _row_lengths(graph)):
                raise StepError(
                    f"compression={precision}-weight: the graph has no float matrix left to quantize; remove "
                    "the compression before it"
                )
            if precision == "int4":
                _require_whole_blocks(lengths, block_size)
                mode = modes.INT4_SYM if self.symmetric else modes.INT4_ASYM
                graph = nncf.compress_weights(graph, mode=mode, group_size=block_size)
            else:
                graph = nncf.compress_weights(graph, mode=modes.INT8_ASYM)
        elif precision not in ("fp32", "fp16"):
            raise StepError(f"export=openvino does not support {precision}; set compression=int8-weight")
        _name_nodes(graph)
        openvino.save_model(graph, output / GRAPH, compress_to_fp16=precision == "fp16")


@contextlib.contextmanager
def telemetry_off() -> Iterator[None]:
    """Disable the telemetry of OpenVINO and NNCF while the block runs."""
    variables = {"CI": "true", "NNCF_CI": "1"}  # both send nothing in CI
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _convert(traceable: Traceable, architecture: str) -> Any:
    """Return the model as an OpenVINO graph with our names of inputs and outputs."""
    import openvino

    try:
        graph = openvino.convert_model(traceable.module, example_input=traceable.arguments)
    except Exception as error:  # a model's code may raise anything while it is traced
        raise StepError(
            f"export=openvino does not support {architecture}: {_reason(error)}; set export=transformers"
        ) from error
    for port, (name, axes), example in zip(
        graph.inputs, traceable.inputs.items(), traceable.tensors, strict=True
    ):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
        sizes = [-1 if axis in axes else size for axis, size in enumerate(example.shape)]
        port.get_node().set_partial_shape(openvino.PartialShape(sizes))
    for port, name in zip(graph.outputs, traceable.outputs, strict=True):
        port.get_tensor().set_names({name})
    graph.validate_nodes_and_infer_types()
    past = [name for name in traceable.inputs if name.startswith("past_key_values.")]
    if past:
        _keep_state(graph, dict(zip(past, traceable.outputs[1:], strict=True)))
    return graph


def _reason(error: Exception) -> str:
    """Return the line that lists the unsupported operators, else the first line."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    start = lines.index("Summary:") + 1 if "Summary:" in lines[:-1] else 0
    return lines[start]


def _keep_state(graph: Any, cache: dict[str, str]) -> None:
    """Turn the key-value cache into state that the runtime keeps between calls.

    Args:
        graph: changed in place.
        cache: for each input of the cache the output that replaces it in the next call.
    """
    import numpy as np
    import openvino
    from openvino import opset13 as op
    from openvino.passes import MakeStateful, Manager

    beams = op.parameter([-1], openvino.Type.i32, name="beam_idx")
    beams.output(0).get_tensor().set_names({"beam_idx"})
    ids = graph.input("input_ids")
    shapes = {name: graph.input(name).get_partial_shape() for name in cache}
    for name in cache:
        past = graph.input(name)
        readers = past.get_target_inputs()
        reordered = op.gather(past, beams, op.constant(0, openvino.Type.i64))
        for reader in readers:
            reader.replace_source_output(reordered.output(0))
    graph.add_parameters([beams])
    passes = Manager()
    passes.register_pass(MakeStateful(cache))
    passes.run_passes(graph)
    zero = op.constant(np.array([0], np.int64))
    rows = op.gather(op.shape_of(ids, "i64"), zero, op.constant(0, openvino.Type.i64))
    for node in graph.get_ops():
        if node.get_type_name() == "ReadValue":
            shape = shapes[next(name for name in cache if node.get_variable_id().startswith(name))]
            heads, size = (op.constant(np.array([shape[axis].get_length()], np.int64)) for axis in (1, 3))
            empty = op.broadcast(op.constant(0.0, openvino.Type.f32), op.concat([rows, heads, zero, size], 0))
            node.set_arguments([empty])
    graph.validate_nodes_and_infer_types()


def _name_nodes(graph: Any) -> None:
    """Name each inner node by type and position: default names depend on what the process built before.

    A multiplication keeps the name of its layer, ``__module.model.<layer>``, by which LoRA adapters find it.
    """
    graph.set_friendly_name("model")
    for index, node in enumerate(graph.get_ordered_ops()):
        kind = node.get_type_name()
        if kind != "Parameter":
            layer, slash, _ = node.get_friendly_name().partition("/")
            named = kind == "MatMul" and slash and layer.startswith("__module.")
            node.set_friendly_name(f"{layer}/{kind}_{index}" if named else f"{kind}_{index}")
        if kind not in ("Parameter", "Result"):
            for port in node.outputs():
                if not {"logits", EMBEDDINGS} & port.get_names():
                    port.get_tensor().set_names(set())


def _row_lengths(graph: Any) -> list[int]:
    """Return the row length of every float matrix that is multiplied."""
    lengths = []
    for node in graph.get_ops():
        if node.get_type_name() == "MatMul":
            source = node.input_value(1).get_node()
            if source.get_type_name() == "Convert":  # stored in half precision
                source = source.input_value(0).get_node()
            shape = source.get_output_partial_shape(0)
            if (
                source.get_type_name() == "Constant"
                and source.get_element_type().is_real()
                and len(shape) == 2
            ):
                lengths.append(shape[1 if node.get_attributes()["transpose_b"] else 0].get_length())
    return lengths


def _require_whole_blocks(lengths: list[int], block_size: int) -> None:
    """Check that *block_size* divides every row.

    Raises:
        StepError: it does not; the message names one that does.
    """
    divisor = math.gcd(*lengths)
    if divisor % block_size == 0:
        return
    fitting = [size for size in (256, 128, 64, 32, 16) if divisor % size == 0]
    change = (
        f"set compression.int4-weight.block_size={fitting[0]}" if fitting else "set compression=int8-weight"
    )
    raise StepError(
        f"compression.int4-weight.block_size: {block_size} does not divide the rows of every matrix, which "
        f"are multiples of {divisor}; {change}"
    )
