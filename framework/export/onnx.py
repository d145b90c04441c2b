"""Classifiers as plain ONNX, by torch's exporter."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.core.errors import StepError
from framework.core.quiet import quiet
from framework.export import Export
from framework.export.folder import copy_companions

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel


class Onnx(Export):
    """``model.onnx`` with inputs ``input_ids`` and ``attention_mask`` and the output ``logits``.

    Inputs are (batch, sequence) int64, the output float32 (batch, classes), or (batch, sequence, tags)
    where words are tagged; batch and sequence are free.
    """

    engine: ClassVar[str] = "onnxruntime"
    tasks: ClassVar[tuple[str, ...]] = (
        "sequence-classification",
        "multi-label-classification",
        "token-classification",
    )
    unmerged: ClassVar[bool] = True

    opset: int = 20
    """ONNX operator set; 20 is what onnxruntime and TensorRT of today both read."""

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Trace the model and write it in float32; see the base class."""
        import torch

        from framework.engine.torch import open_model

        source = open_model(model)
        # Two rows of five: a size of one would be taken for a constant.
        ids = torch.ones(2, 5, dtype=torch.long)
        mask = torch.ones_like(ids)
        batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
        axes = {0: batch, 1: sequence}
        with quiet():
            try:
                program = torch.onnx.export(
                    _logits_only(source),
                    (ids, mask),
                    dynamo=True,
                    dynamic_shapes=(axes, axes),
                    input_names=["input_ids", "attention_mask"],
                    output_names=["logits"],
                    opset_version=self.opset,
                    verbose=False,
                )
            except torch.onnx.errors.OnnxExporterError as error:
                raise StepError(f"export=onnx cannot express {type(source).__name__}: {error}") from error
        if program is None:
            raise StepError("export=onnx: torch returned no graph")
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # lines of source files, by their paths on this machine
        program.save(output / "model.onnx")
        copy_companions(model, output)


def _logits_only(model: "PreTrainedModel") -> "Module":
    import torch

    class LogitsOnly(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
            return logits

    return LogitsOnly()
