"""Full fine-tuning with fake quantization: the forward pass uses quantized weights and activations.

Not an option of the group ``tuning``: its result is a compressed model. Knows neither rows nor losses.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from framework.build.compression.rounding_grid import Scheme, rounded
from framework.build.tuning.architectures import heads
from framework.build.tuning.full import Full
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class FakeQuantized(Full):
    """Train all weights; linear layers compute with rounded ones, the head too except for ``8da4w``.

    Weights are rounded to the engines' grid (``framework.build.compression.rounding_grid``). If the scheme
    has int8 activations, torchao rounds them with one range per token. Gradients ignore the rounding
    (straight-through estimator: Bengio et al., 2013, arXiv:1308.3432). The rounded weights are saved as
    floats. A head tied to the embeddings is saved unrounded.
    """

    scheme: Scheme
    """See ``Qat``."""
    group_size: Annotated[int, Field(ge=1)]
    """See ``Qat``."""

    @property
    def spreads(self) -> frozenset[str]:
        """None: the scale of a block requires the whole block."""
        return frozenset()

    def requires(self) -> Mapping[str, str]:
        """Return torchao, which fake-quantizes the activations."""
        return {"torchao": "compress"}

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return *model* with fake-quantized linear layers.

        Raises:
            StepError: the model has no linear layer, the group size does not divide the inputs of one, or
                torchao is not installed.
        """
        if find_spec("torchao") is None:
            raise StepError("compression.qat requires torchao: pip install 'gitune[compress]'")
        excluded = heads(model).values() if self.scheme == "8da4w" else ()
        head_modules = {id(module) for head in excluded for module in head.modules()}
        paths = [path for path, layer in _linears(model).items() if id(layer) not in head_modules]
        if not paths:
            raise StepError(f"compression.qat: {type(model).__name__} has no linear layer to quantize")
        self._check_blocks(model, paths)
        with quiet():  # torchao warns about GPU kernels that it could not load
            _prepare(model, paths, self)
        return super().apply(model, task, steps)

    def _check_blocks(self, model: Any, paths: list[str]) -> None:
        if self.scheme == "int8":
            return
        for path in paths:
            inputs = model.get_submodule(path).in_features
            if inputs % self.group_size:
                fitting = next(size for size in (128, 64, 32, 16, 8, 4, 2, 1) if inputs % size == 0)
                raise StepError(
                    f"compression.qat.group_size: {self.group_size} does not divide the {inputs} inputs of "
                    f"{path}; set compression.qat.group_size={fitting}"
                )

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write the whole model with the weights of the fake-quantized layers rounded."""
        weights = dict(model.state_dict() if state is None else state)
        embedding = model.get_input_embeddings().weight
        for path, layer in _linears(model).items():
            if hasattr(layer, "weight_fake_quantizer") and layer.weight is not embedding:
                name = f"{path}.weight"
                weights[name] = rounded(weights[name].detach(), self.scheme, self.group_size)
        super().save(model, output, weights)


def _linears(model: Any) -> dict[str, Any]:
    from torch.nn import Linear

    return {path: module for path, module in model.named_modules() if isinstance(module, Linear)}


def _prepare(model: Any, paths: list[str], tuning: FakeQuantized) -> None:
    """Replace the linear layers at *paths* with torchao's, in place; weights keep their names."""
    import torch
    from torchao.quantization import quantize_
    from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig

    class StraightThrough(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, weight: Any) -> Any:
            return rounded(weight, tuning.scheme, tuning.group_size)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return grads[0]

    class RoundToGrid(torch.nn.Module):
        def forward(self, weight: Any) -> Any:
            function: Any = StraightThrough
            return function.apply(weight)

    selected = set(paths)
    by_token = IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
    quantize_(model, QATConfig(activation_config=by_token, step="prepare"), lambda _, path: path in selected)
    for path in paths:
        layer: Any = model.get_submodule(path)
        layer.weight_fake_quantizer = RoundToGrid()
        if tuning.scheme == "int4":
            layer.activation_fake_quantizer = None
