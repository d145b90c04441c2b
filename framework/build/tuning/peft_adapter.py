"""Base class of the peft methods: add, save, continue and merge an adapter.

Knows no method; each one has its own ``peft_config``.
"""

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from framework.build.engine.attached_adapter import number_positions, without_known_warnings
from framework.build.engine.model_folder import ADAPTER_CONFIG
from framework.build.task import open_task
from framework.build.tuning import Tuning
from framework.build.tuning.targets import refuse_tied, tied_problems
from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.problem import Problem
from framework.core.source import Source

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_SHAPING = {
    "peft_type": "",
    "r": "rank",
    "lora_alpha": "alpha",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "feedforward_modules": "feedforward_modules",
    "oft_block_size": "block_size",
    "num_virtual_tokens": "num_virtual_tokens",
}
"""The fields of an adapter's config that its weights depend on, and our key for each."""


class PeftAdapter(Tuning):
    """A PEFT adapter on a frozen model, saved as a folder with config and safetensors."""

    continues: ClassVar[bool] = True
    """Whether training can continue from an earlier adapter."""

    from_adapter: Source | None = None
    """A PEFT adapter to continue from, such as the folder of an earlier tune step; None starts a new one. It
    must have the same method, sizes and base model."""

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.from_adapter is not None and not self.continues:
            raise PydanticCustomError(
                "from_adapter",
                "'from_adapter' is not supported: this method does not save everything it trains; merge the "
                "earlier adapter and set model.source to the merged folder",
            )
        return self

    def problems(self, model_config: Mapping[str, Any]) -> list[Problem]:
        """Return target modules that are tied; see the base class."""
        return tied_problems(getattr(self, "target_modules", ""), model_config)

    @abstractmethod
    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return the method's ``peft.PeftConfig`` for *model*.

        Raises:
            StepError: the model has no layers that the method can adapt.
        """

    def prepare(self, model: "PreTrainedModel") -> "PreTrainedModel":
        """Change the base before the adapter is added."""
        return model

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Freeze *model* and add the adapter."""
        with without_known_warnings():
            from peft import get_peft_model
            from peft.tuners.tuners_utils import BaseTunerLayer

            config = self.peft_config(model, open_task(task).peft_type, steps)
            prepared = self.prepare(model)
            try:
                adapted: PreTrainedModel = get_peft_model(prepared, config)
            except ValueError as error:
                raise self._refused(error) from error
        refuse_tied(adapted)
        for module in adapted.modules():
            # peft casts each layer's input to the adapter's float32, and autocast casts it back.
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = False
        if config.is_prompt_learning:
            number_positions(adapted)
        if self.from_adapter is not None:
            self._load_adapter(self.from_adapter, adapted)
        return adapted

    def _refused(self, error: ValueError) -> StepError:
        """Return why peft adds no adapter: to layers such as an embedding, or to such a model at all."""
        name, reason = type(self).__name__, first_line(error)
        if "target_modules" in type(self).model_fields:
            fix = "choose others, or set tuning=lora"
            return StepError(f"tuning.target_modules: {name} cannot adapt these layers: {reason}; {fix}")
        return StepError(f"tuning: {name} cannot adapt this model: {reason}; set tuning=lora")

    def _load_adapter(self, source: Source, adapted: Any) -> None:
        from peft.utils import load_peft_weights, set_peft_model_state_dict

        folder = source.fetch()
        if not (folder / ADAPTER_CONFIG).is_file():
            raise StepError(
                f"tuning.from_adapter: {source.url} has no {ADAPTER_CONFIG}; use the folder of a PEFT adapter"
            )
        theirs = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        ours = adapted.peft_config["default"].to_dict()
        for name, key in _SHAPING.items():
            if name in ours and _comparable(ours[name]) != _comparable(theirs.get(name)):
                value, own = _comparable(theirs.get(name)), _comparable(ours[name])
                fix = f"set tuning.{key}={_as_override(value)}" if key else "choose the same method"
                raise StepError(f"tuning.from_adapter: {source.url} has {name} {value}, not {own}; {fix}")
        try:
            result = set_peft_model_state_dict(adapted, load_peft_weights(str(folder), device="cpu"))
        except (RuntimeError, KeyError) as error:
            raise StepError(
                f"tuning.from_adapter: {source.url} does not fit this model: {first_line(error)}; "
                "use the base model that it was trained on"
            ) from error
        if adapted.peft_config["default"].is_prompt_learning:
            return  # a prompt has no layers to compare
        ours_only = [name for name in result.missing_keys if adapted.get_parameter(name).requires_grad]
        for names, where in ((ours_only, "only this config"), (result.unexpected_keys, f"only {source.url}")):
            if names:
                layer = sorted(names)[0].removeprefix("base_model.model.")
                raise StepError(
                    f"tuning.from_adapter: {where} has {layer}; set the same tuning.target_modules as then"
                )

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write a PEFT adapter: ``adapter_config.json`` and ``adapter_model.safetensors``."""
        weights = model.state_dict() if state is None else dict(state)
        # Embeddings are never resized here; to check that, peft would request the base's config from the hub.
        model.save_pretrained(output, state_dict=weights, save_embedding_layers=False)
        body = json.loads((output / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        # The base model's path on this machine is useless elsewhere.
        body["base_model_name_or_path"] = None
        write_config(output, body)
        (output / "README.md").unlink(missing_ok=True)

    def merge(self, base: "PreTrainedModel", tuned: Path) -> "PreTrainedModel":
        """Merge the adapter into the float weights."""
        if not self.merges:
            raise StepError(f"tuning: {type(self).__name__} cannot be merged; set export=transformers")
        with without_known_warnings():
            from peft import PeftModel

            adapted = PeftModel.from_pretrained(base, str(tuned))
            _unwrap_heads(adapted)
            merged: PreTrainedModel = adapted.merge_and_unload()
        return merged


def _unwrap_heads(adapted: Any) -> None:
    """Replace wrapped heads by the trained ones: peft fails to merge a head of several layers."""
    from peft.utils import ModulesToSaveWrapper

    modules = list(adapted.named_modules())
    wrappers = [(path, module) for path, module in modules if isinstance(module, ModulesToSaveWrapper)]
    for path, wrapper in wrappers:
        parent, _, name = path.rpartition(".")
        setattr(adapted.get_submodule(parent), name, wrapper.modules_to_save[wrapper.active_adapters[0]])


def write_config(folder: Path, body: dict[str, Any]) -> None:
    """Write ``adapter_config.json``: the same bytes for the same *body*."""
    # peft keeps module names in sets, whose order differs between processes.
    ordered = {name: sorted(value) if _is_names(value) else value for name, value in body.items()}
    (folder / ADAPTER_CONFIG).write_text(
        json.dumps(ordered, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _is_names(value: Any) -> bool:
    return isinstance(value, list | set | tuple) and all(isinstance(item, str) for item in value)


def _comparable(value: Any) -> Any:
    return sorted(value) if _is_names(value) else value


def _as_override(value: Any) -> str:
    """Return *value* as it is typed after an override's ``=``.

    >>> _as_override(["a", "b"]), _as_override(4), _as_override(True)
    ('[a,b]', '4', 'true')
    """
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
