"""Grammars of OpenVINO GenAI: its tokenizer, its form of a grammar, and a check before one is used.

The runtime compiles a schema in the step that first needs it, and one that it cannot compile breaks that step
for every running request. So each is compiled before, by a model of a few operations that answers nothing.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.engine.sampling import Part
from framework.core.error_text import first_line

if TYPE_CHECKING:
    import openvino
    import openvino_genai

_log = logging.getLogger(__name__)
_KNOWN = 256
"""Most grammars that are remembered as usable."""


class Grammars:
    """Opens grammars for one tokenizer."""

    def __init__(self, tokenizer: "openvino_genai.Tokenizer") -> None:
        """Build the model that checks grammars.

        Args:
            tokenizer: has the model's vocabulary.
        """
        import openvino
        import openvino_genai

        self.end: int = tokenizer.get_eos_token_id()
        """The token that ends an answer with a grammar."""
        self.tokenizer = tokenizer
        with tempfile.TemporaryDirectory() as folder:
            openvino.save_model(_empty_model(len(tokenizer.get_vocab())), f"{folder}/openvino_model.xml")
            self._checker = openvino_genai.LLMPipeline(folder, tokenizer, "CPU", ATTENTION_BACKEND="SDPA")
        self._known: dict[tuple[Part, ...], None] = {}

    def open(self, grammar: tuple[Part, ...]) -> "openvino_genai.StructuredOutputConfig":
        """Return *grammar* in the runtime's form.

        Raises:
            RuntimeError: the runtime cannot compile it.
        """
        import numpy as np
        import openvino
        import openvino_genai

        structured = _structured(grammar)
        if grammar not in self._known:
            config = openvino_genai.GenerationConfig(max_new_tokens=1)
            config.eos_token_id, config.structured_output_config = self.end, structured
            self._checker.generate(openvino.Tensor(np.zeros((1, 1), np.int64)), config)
            self._known[grammar] = None
            if len(self._known) > _KNOWN:
                del self._known[next(iter(self._known))]
        return structured


def open_grammars(folder: Path) -> Grammars | None:
    """Return the grammars for a folder's tokenizer; None, and a warning, if it cannot be converted."""
    import openvino
    import openvino_genai
    from transformers import PreTrainedTokenizerFast

    try:
        from openvino_tokenizers import convert_tokenizer

        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        graphs = convert_tokenizer(tokenizer, with_detokenizer=True)
        with tempfile.TemporaryDirectory() as converted:
            for graph, name in zip(graphs, ("tokenizer", "detokenizer"), strict=True):
                openvino.save_model(graph, f"{converted}/openvino_{name}.xml")
            return Grammars(openvino_genai.Tokenizer(converted))
    except Exception as error:  # it raises whatever it met in an unusual tokenizer
        _log.warning("%s: JSON schemas and required calls are refused: %s", folder, first_line(error))
        return None


def _structured(grammar: Sequence[Part]) -> "openvino_genai.StructuredOutputConfig":
    from openvino_genai import StructuredOutputConfig

    if [kind for kind, _ in grammar] == ["schema"]:
        return StructuredOutputConfig(json_schema=grammar[0][1])
    parts: list[Any] = [
        StructuredOutputConfig.ConstString(text)
        if kind == "text"
        else StructuredOutputConfig.JSONSchema(text)
        for kind, text in grammar
    ]
    return StructuredOutputConfig(compound_grammar=StructuredOutputConfig.Concat(*parts))


def _empty_model(vocabulary: int) -> "openvino.Model":
    """Return a language model whose logits are 0, with the inputs and the state that the runtime expects."""
    import numpy as np
    import openvino
    from openvino import opset13 as op
    from openvino.op.util import Variable, VariableInfo

    inputs = [
        op.parameter(shape, kind, name=name)
        for name, shape, kind in (
            ("input_ids", [-1, -1], np.int64),
            ("attention_mask", [-1, -1], np.int64),
            ("beam_idx", [-1], np.int32),
        )
    ]
    for value in inputs:
        value.output(0).get_tensor().set_names({value.friendly_name})
    ids, mask, beam = inputs
    zero, axes = op.constant(np.int64(0)), op.constant(np.asarray([0, 1], np.int64))
    info = VariableInfo()
    info.data_shape, info.data_type = openvino.PartialShape([-1, 1]), openvino.Type.f32
    info.variable_id = "past"
    state = Variable(info)
    rows = op.unsqueeze(op.gather(op.shape_of(ids), zero, zero), zero)
    shape = op.concat([rows, op.constant(np.asarray([1], np.int64))], 0)
    past = op.gather(op.read_value(op.broadcast(op.constant(np.float32(0)), shape), state), beam, zero)
    # Every input must have a use.
    used = op.add(op.reduce_sum(op.convert(mask, np.float32), axes, True), op.reduce_sum(past, axes, True))
    shape = op.concat([op.shape_of(ids), op.constant(np.asarray([vocabulary], np.int64))], 0)
    nothing = op.unsqueeze(op.multiply(used, op.constant(np.float32(0))), zero)
    result = op.result(op.add(op.broadcast(op.constant(np.float32(0)), shape), nothing))
    result.input(0).get_source_output().get_tensor().set_names({"logits"})
    return openvino.Model([result], [op.assign(past, state)], inputs, "empty")
