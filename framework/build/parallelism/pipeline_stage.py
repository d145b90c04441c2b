"""A run of a decoder's layers: what a process of a pipeline keeps of a model, and how rows go through it."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from framework.core.errors import StepError

HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
"""The ends of the names of what may be one tensor."""
KNOWN = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Architectures whose decoder takes ``inputs_embeds`` as what stands between two layers."""


class Stage(nn.Module):
    """One stage of *model*: everything else is taken out of it, and the rest keeps its names.

    The model's own code runs. Its decoder does for a run of layers what it does for all: masks and
    rotations first, then layer by layer; the last norm is the identity but at the end.
    """

    def __init__(self, model: Any, mesh: Any) -> None:
        super().__init__()
        self.model = model
        self.mesh = mesh
        self.number, self.count = mesh.get_local_rank(), mesh.size()
        self.first, self.last = self.number == 0, self.number == self.count - 1
        self.task: Any = None
        causal = model.get_base_model() if hasattr(model, "peft_config") else model
        refuse(causal, model, self.count)
        self.trained = [(name, p.ndim) for name, p in model.named_parameters() if p.requires_grad]
        """Names and dimensions of the whole model's trained weights, in their order."""
        self._causal = [causal]  # in a list, or its weights would have two names
        self.tied = causal.config.tie_word_embeddings and causal.lm_head.weight.requires_grad
        """Whether the embeddings are the head too and trained: the first and last stage have copies."""
        embeddings = causal.model.embed_tokens.weight
        self.width, self.dtype = embeddings.shape[1], embeddings.dtype
        self._taken: list[tuple[nn.Module, str, nn.Module]] = []
        decoder = causal.model
        count = len(decoder.layers)
        self.layers = decoder.layers
        for index in range(count):
            if index * self.count // count != self.number:
                self._take(decoder.layers, str(index))
        if not self.first:
            self._take(decoder, "embed_tokens")
        if not self.last:
            self._take(decoder, "norm", nn.Identity())
            self._take(causal, "lm_head")

    def forward(self, inputs: Tensor, **kwargs: Any) -> Tensor:
        """Return what the next stage takes, (rows, T, width), or the micro batch's summed loss, a scalar.

        Args:
            inputs: token ids (rows, T) in the first stage, hidden states (rows, T, width) after it.
            kwargs: ``attention_mask`` and ``position_ids``, both (rows, T); in the last stage ``labels`` too.
        """
        batch = {"input_ids" if self.first else "inputs_embeds": inputs, **kwargs}
        if self.last:
            loss: Tensor = self.task.loss(self.model, batch)
            return loss
        batch.pop("labels", None)
        hidden: Tensor = self._causal[0].model(**batch, use_cache=False).last_hidden_state
        return hidden

    def add_up_tied(self) -> None:
        """Give both copies of tied embeddings the gradient of both of their uses."""
        if not self.tied:
            return
        weight: Any = self.tied_weight()
        total = None if weight is None else local(weight.grad)
        ends = [self.mesh.mesh.flatten().tolist()[end] for end in (0, -1)]
        if self.first or self.last:
            assert total is not None
            other = torch.empty_like(total)
            peer = ends[1] if self.first else ends[0]
            # The lower number sends first, so that neither waits for ever.
            if self.first:
                dist.send(total, peer)
                dist.recv(other, peer)
            else:
                dist.recv(other, peer)
                dist.send(total, peer)
            total.add_(other)

    def tied_weight(self) -> Any:
        """Return this stage's copy of tied embeddings, if it has one."""
        causal = self._causal[0]
        if self.first:
            return causal.model.embed_tokens.weight
        return causal.lm_head.weight if self.last else None

    def clip(self, largest: float) -> Tensor:
        """Scale the gradients of all stages down to a norm of *largest*; 0 leaves them; return their norm."""
        from framework.build.parallelism import sharding as spread

        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        copy = self.tied_weight() if self.tied and self.last else None
        norm = spread.gradient_norm(weight for weight in trained if weight is not copy)
        square = norm**2
        dist.all_reduce(square, group=self.mesh.get_group())
        norm = square.sqrt()
        if largest:
            spread.scale_gradients(trained, (largest / (norm + 1e-6)).clamp(max=1.0))
        return norm

    @property
    def speaks(self) -> bool:
        """Whether this process brings its stage's weights to the first one."""
        return int(self.mesh.mesh.flatten()[0]) == 0

    def gathered(self, mine: "dict[Any, Any]") -> "dict[Any, Any]":
        """Return what all stages have under their names together, in the first process; each must ask."""
        if not self.speaks:
            return {}
        parts: list[Any] | None = [None] * self.count if self.first else None
        dist.gather_object(mine, parts, dst=0, group=self.mesh.get_group())
        found = {name: item for part in parts or [] for name, item in part.items()}
        if self._causal[0].config.tie_word_embeddings:
            for name in [name for name in found if name.endswith(HEAD)]:  # one tensor again, as it was
                found[name] = found.get(name.replace(HEAD, EMBEDDINGS), found[name])
        return found

    def restore(self) -> None:
        """Put back what was taken out, without its numbers, so that the model has its whole shape."""
        for parent, name, module in self._taken:
            parent._modules[name] = module
        self._taken.clear()

    def _take(self, parent: Any, name: str, instead: nn.Module | None = None) -> None:
        """Take *name* out of *parent*, and free its weights."""
        self._taken.append((parent, name, parent._modules[name].to("meta")))
        if instead is None and isinstance(parent, nn.ModuleList):
            del parent._modules[name]
        else:
            parent._modules[name] = instead


def local(tensor: Any) -> Tensor:
    """Return this process's part of *tensor*."""
    found: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return found


def refuse(causal: Any, model: Any, stages: int) -> None:
    """Raise ``StepError`` if *model*, whose plain part is *causal*, cannot be cut into *stages*."""
    kind, instead = causal.config.model_type, "set parallelism=fsdp2"
    if kind not in KNOWN:
        raise StepError(
            f"parallelism.stages: it is not known how rows pass from layer to layer of a '{kind}' model; "
            f"{instead} (known are {', '.join(KNOWN)})"
        )
    if any(adapter.is_prompt_learning for adapter in getattr(model, "peft_config", {}).values()):
        raise StepError(
            "parallelism.stages: prompts that are trained cannot pass between stages; set tuning=lora"
        )
    count = len(causal.model.layers)
    if stages > count:
        raise StepError(
            f"parallelism.stages: {stages} stages cannot share {count} layers; set parallelism.stages={count}"
        )
    idle = set(range(stages)) - {
        index * stages // count
        for index, layer in enumerate(causal.model.layers)
        if any(weight.requires_grad for weight in layer.parameters())
    }
    if idle:
        raise StepError(
            f"parallelism.stages: the tuning method trains nothing in stage {min(idle)}, so that no gradient "
            f"can pass; {instead}"
        )
