"""One stage of a pipeline: the decoder layers that a process keeps, and how a micro batch passes through."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from framework.core.errors import StepError

HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
"""The suffixes of the names of two weights that may be tied."""
SUPPORTED = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Model types whose decoder accepts any layer's hidden states as ``inputs_embeds``."""


class Stage(nn.Module):
    """One stage of *model*: all other layers are removed from it, and the rest keeps its names.

    The model's own code runs: its decoder computes masks and rotary embeddings, then the layers that are
    left. The final norm is the identity in all stages except the last.
    """

    def __init__(self, model: Any, mesh: Any) -> None:
        super().__init__()
        self.model = model
        self.mesh = mesh
        self.number, self.count = mesh.get_local_rank(), mesh.size()
        self.first, self.last = self.number == 0, self.number == self.count - 1
        self.task: Any = None
        causal = model.get_base_model() if hasattr(model, "peft_config") else model
        check_stages(causal, model, self.count)
        self.trained = [(name, p.ndim) for name, p in model.named_parameters() if p.requires_grad]
        """Names and numbers of dimensions of the whole model's trained weights, in order."""
        self._causal = [causal]  # in a list, so that its weights are not registered twice
        self.tied = causal.config.tie_word_embeddings and causal.lm_head.weight.requires_grad
        """Whether trained embeddings are tied to the head; the first and last stage then have a copy each."""
        embeddings = causal.model.embed_tokens.weight
        self.width, self.dtype = embeddings.shape[1], embeddings.dtype
        self._removed: list[tuple[nn.Module, str, nn.Module]] = []
        decoder = causal.model
        count = len(decoder.layers)
        self.layers = decoder.layers
        for index in range(count):
            if index * self.count // count != self.number:
                self._remove(decoder.layers, str(index))
        if not self.first:
            self._remove(decoder, "embed_tokens")
        if not self.last:
            self._remove(decoder, "norm", nn.Identity())
            self._remove(causal, "lm_head")

    def forward(self, inputs: Tensor, **kwargs: Any) -> Tensor:
        """Return the next stage's input, (rows, T, width), or in the last the summed loss, a scalar.

        Args:
            inputs: token ids (rows, T) in the first stage, hidden states (rows, T, width) in the others.
            kwargs: ``attention_mask`` and ``position_ids``, both (rows, T); in the last stage ``labels`` too.
        """
        batch = {"input_ids" if self.first else "inputs_embeds": inputs, **kwargs}
        if self.last:
            loss: Tensor = self.task.loss(self.model, batch)
            return loss
        batch.pop("labels", None)
        hidden: Tensor = self._causal[0].model(**batch, use_cache=False).last_hidden_state
        return hidden

    def sum_tied_gradients(self) -> None:
        """Set the gradient of both copies of tied embeddings to their sum."""
        if not self.tied:
            return
        weight: Any = self.tied_weight()
        total = None if weight is None else local_part(weight.grad)
        ends = [self.mesh.mesh.flatten().tolist()[end] for end in (0, -1)]
        if self.first or self.last:
            assert total is not None
            other = torch.empty_like(total)
            peer = ends[1] if self.first else ends[0]
            # The lower rank sends first; otherwise both would wait forever.
            if self.first:
                dist.send(total, peer)
                dist.recv(other, peer)
            else:
                dist.recv(other, peer)
                dist.send(total, peer)
            total.add_(other)

    def tied_weight(self) -> Any:
        """Return this stage's copy of tied embeddings; None if it has none."""
        causal = self._causal[0]
        if self.first:
            return causal.model.embed_tokens.weight
        return causal.lm_head.weight if self.last else None

    def clip(self, largest: float) -> Tensor:
        """Clip the gradients of all stages to a total norm of *largest*; 0 disables clipping.

        Returns:
            The total norm before clipping, a scalar.
        """
        from framework.build.parallelism.sharding import gradient_norm, scale_gradients

        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        copy = self.tied_weight() if self.tied and self.last else None
        norm = gradient_norm(weight for weight in trained if weight is not copy)
        square = norm**2
        dist.all_reduce(square, group=self.mesh.get_group())
        norm = square.sqrt()
        if largest:
            scale_gradients(trained, (largest / (norm + 1e-6)).clamp(max=1.0))
        return norm

    @property
    def represents_stage(self) -> bool:
        """Whether this process sends its stage's weights to rank 0."""
        return int(self.mesh.mesh.flatten()[0]) == 0

    def gather(self, own: "dict[Any, Any]") -> "dict[Any, Any]":
        """Return the merged *own* dicts of all stages on rank 0, else {}; every process must call this."""
        if not self.represents_stage:
            return {}
        by_stage: list[Any] | None = [None] * self.count if self.first else None
        dist.gather_object(own, by_stage, dst=0, group=self.mesh.get_group())
        merged = {name: item for part in by_stage or [] for name, item in part.items()}
        if self._causal[0].config.tie_word_embeddings:
            for name in [name for name in merged if name.endswith(HEAD)]:  # tie both copies again
                merged[name] = merged.get(name.replace(HEAD, EMBEDDINGS), merged[name])
        return merged

    def restore(self) -> None:
        """Put the removed modules back, on the meta device, so that the model has all its layers again."""
        for parent, name, module in self._removed:
            parent._modules[name] = module
        self._removed.clear()

    def _remove(self, parent: Any, name: str, replacement: nn.Module | None = None) -> None:
        """Remove *name* from *parent*, and free its weights."""
        self._removed.append((parent, name, parent._modules[name].to("meta")))
        if replacement is None and isinstance(parent, nn.ModuleList):
            del parent._modules[name]
        else:
            parent._modules[name] = replacement


def local_part(tensor: Any) -> Tensor:
    """Return this process's shard of *tensor*."""
    shard: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return shard


def check_stages(causal: Any, model: Any, stages: int) -> None:
    """Check that *model*, whose transformers model is *causal*, can be divided into *stages*.

    Raises:
        StepError: it cannot.
    """
    kind, instead = causal.config.model_type, "set parallelism=fsdp2"
    if kind not in SUPPORTED:
        raise StepError(
            f"parallelism.stages: pipelines do not support '{kind}' models; "
            f"{instead} (supported: {', '.join(SUPPORTED)})"
        )
    if any(adapter.is_prompt_learning for adapter in getattr(model, "peft_config", {}).values()):
        raise StepError("parallelism.stages: pipelines do not support trained prompts; set tuning=lora")
    count = len(causal.model.layers)
    if stages > count:
        raise StepError(
            f"parallelism.stages: {count} layers are too few for {stages} stages; "
            f"set parallelism.stages={count}"
        )
    idle = set(range(stages)) - {
        index * stages // count
        for index, layer in enumerate(causal.model.layers)
        if any(weight.requires_grad for weight in layer.parameters())
    }
    if idle:
        raise StepError(
            f"parallelism.stages: the tuning method trains no weight in stage {min(idle)}, so gradients "
            f"cannot pass through it; {instead}"
        )
