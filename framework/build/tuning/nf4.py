"""Quantize frozen linear layers to 4 bits with bitsandbytes, on CPU and GPU.

Knows which layers stay in float; not what is trained.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from framework.build.tuning.architectures import heads
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor


def quantize(model: Any, double: bool) -> None:
    """Replace the linear layers of *model* below its head with frozen nf4 layers, in place.

    It is deterministic: a resumed run has the same base.

    Raises:
        StepError: bitsandbytes is not installed, or there is no linear layer.
    """
    if find_spec("bitsandbytes") is None:
        raise StepError("tuning.base_precision=nf4 requires bitsandbytes: pip install 'gitune[qlora]'")
    from torch.nn import Linear

    head_modules = {id(module) for head in heads(model).values() for module in head.modules()}
    linear = [(path, module) for path, module in model.named_modules() if isinstance(module, Linear)]
    layers = [(path, layer) for path, layer in linear if id(layer) not in head_modules]
    if not layers:
        raise StepError(f"tuning.base_precision=nf4: {type(model).__name__} has no linear layer to quantize")
    nf4_class = _layer_class()
    for path, layer in layers:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, nf4_class(layer, double))
    model.is_loaded_in_4bit = True  # peft checks this before it checks the layers


def _layer_class() -> Any:
    import bitsandbytes as bnb
    import torch

    class Nf4Linear(bnb.nn.Linear4bit):  # type: ignore[misc]  # the library has no types
        """A frozen linear layer that dequantizes its weight for each product, in autocast's precision.

        bitsandbytes' own layer changes its weights: it fixes its precision in the first call, casts its bias
        in place to the type of each input, and repacks the weight for some CPUs in evaluation mode.
        """

        def __init__(self, plain: torch.nn.Linear, double: bool) -> None:
            super().__init__(plain.in_features, plain.out_features, bias=False, device="meta")
            weight = bnb.nn.Params4bit(
                plain.weight.data,
                requires_grad=False,
                compress_statistics=double,
                quant_type="nf4",
                module=self,
            )
            self.weight = weight.to("cpu")  # bitsandbytes quantizes when the tensor is moved
            self.bias = plain.bias
            self.train(plain.training)

        def forward(self, x: "Tensor") -> "Tensor":
            device = x.device.type
            if torch.is_autocast_enabled(device):
                x = x.to(torch.get_autocast_dtype(device))
            bias = None if self.bias is None else self.bias.to(x.dtype)
            product: Tensor = bnb.matmul_4bit(x, self.weight, bias=bias, quant_state=self.weight.quant_state)
            return product

    return Nf4Linear
