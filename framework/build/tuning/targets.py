"""Resolve ``target_modules`` of a recipe to layers of the model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from framework.build.tuning.architectures import heads, layers_of, linear_names, named
from framework.core.errors import StepError
from framework.core.problem import Problem
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from torch.nn import Module

Names = Annotated[tuple[str, ...], Field(min_length=1)]
Targets = Literal["all-linear", "attention", "attention-mlp"] | Names
"""``all-linear`` is every linear layer except the head; the others depend on the architecture."""

_TIED = ("lm_head", "embed_tokens", "wte", "shared", "embed_in", "embed_out")
"""Names of the head and of the embeddings, which share one weight where a config ties them."""


def resolve(targets: Targets, model: Any) -> str | list[str]:
    """Return the value of peft's ``target_modules``.

    Raises:
        StepError: a name matches no layer that can be adapted, or the architecture is not known.
    """
    if targets == "all-linear":
        # peft excludes the heads of language models and text classifiers, but no others.
        others = type(model).__name__.endswith(("ForTokenClassification", "ForQuestionAnswering"))
        return _linear_below_head(model) if others else targets
    if isinstance(targets, str):
        layers = layers_of(model)
        names = layers.attention if targets == "attention" else layers.attention + layers.feed_forward
        return [name for name in names if named(model, name)]
    refuse_unmatched(targets, model)
    return list(targets)


def _linear_below_head(model: Any) -> list[str]:
    """Return the path of every linear layer outside the head."""
    from torch.nn import Linear

    head_modules = {id(module) for head in heads(model).values() for module in head.modules()}
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, Linear) and id(module) not in head_modules
    ]


def refuse_unmatched(names: tuple[str, ...], model: "Module", key: str = "target_modules") -> None:
    """Raise a StepError for the first of *names* that matches no layer that can be adapted."""
    for name in sorted(set(names)):
        modules = [module for _, module in named(model, name)]
        # A layer that can be adapted has a weight matrix; a block of layers or a norm does not.
        if any(getattr(getattr(module, "weight", None), "ndim", 0) >= 2 for module in modules):
            continue
        linear = linear_names(model)
        guess = None if modules else nearest(name, linear)
        hint = f"did you mean '{guess}'?" if guess else f"the linear layers are {', '.join(linear)}"
        raise StepError(f"tuning.{key}: no linear layer is named '{name}'; {hint}")


def refuse_tied(adapted: "Module") -> None:
    """Raise a StepError for a layer with a PEFT adapter whose weight another layer shares.

    The adapter changes the output of one layer. Merged, it would change both: a tied output head changes the
    input embeddings too, which ruins the model.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    owners: dict[int, list[str]] = {}
    for path, weight in adapted.named_parameters(remove_duplicate=False):
        owners.setdefault(id(weight), []).append(_own_path(path))
    for path, layer in adapted.named_modules():
        if isinstance(layer, BaseTunerLayer):
            shared = owners.get(id(layer.get_base_layer().weight), ())
            others = [owner for owner in shared if owner != _own_path(path)]
            if others:
                name = _own_path(path).rpartition(".")[2]
                raise StepError(
                    f"tuning.target_modules: '{name}' shares its weight with {others[0]} (tied embeddings), "
                    f"and a merge would change both; leave out '{name}', or train the shared weight itself "
                    "with tuning=head or tuning=full"
                )


def tied_problems(targets: Targets | str, model_config: Mapping[str, Any]) -> list[Problem]:
    """Return the names in *targets* that ``config.json`` ties; ``refuse_tied`` asks the model itself."""
    text = model_config.get("text_config") or {}
    tied = model_config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    if not tied or isinstance(targets, str):
        return []
    named_ends = [(name, name.rpartition(".")[2]) for name in targets]
    names = [name for name, end in named_ends if end in _TIED]
    kept = [name for name, end in named_ends if end not in _TIED]
    if not names:
        return []
    overrides = (f"tuning.target_modules=[{','.join(kept)}]",) if kept else ()
    reason = (
        f"{', '.join(names)}: the head and the embeddings share one weight, and a merge would change both"
    )
    return [Problem("tuning.target_modules", reason, (*overrides, "tuning=head", "tuning=full"))]


def _own_path(path: str) -> str:
    """Return the path in the base model of a layer, or of a layer's weight, in a PEFT model.

    >>> _own_path("base_model.model.lm_head.base_layer.weight"), _own_path("base_model.model.lm_head")
    ('lm_head', 'lm_head')
    """
    return path.removeprefix("base_model.model.").removesuffix(".weight").removesuffix(".base_layer")


def refuse_decoder_with_head(model: Any, task_type: str) -> None:
    """Raise a StepError for a decoder with a classification head, which would classify a padding token."""
    if task_type == "SEQ_CLS" and hasattr(model, "score"):
        raise StepError(
            f"tuning: {type(model).__name__} classifies the last token of a text, whose position shifts with "
            "a learned prompt; set tuning=lora"
        )
