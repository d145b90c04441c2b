"""What all methods of the peft library share: how an adapter is put on, saved, continued and merged.

It knows nothing of any one method; that is each method's ``peft_config``.
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
from framework.core.error_text import first_line
from framework.core.errors import StepError
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
"""What of an adapter's config decides its weights' meaning, and our key for it."""


class PeftAdapter(Tuning):
    """Small weights beside a frozen model, as a PEFT adapter: a folder of config and safetensors."""

    continues: ClassVar[bool] = True
    """Whether training can begin where an earlier adapter ended."""

    from_adapter: Source | None = None
    """A PEFT adapter of the same method, base and sizes to begin from, such as an earlier tune step's
    folder; None begins anew. What is saved then holds both. The base must be the one it was trained on."""

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.from_adapter is not None and not self.continues:
            raise PydanticCustomError(
                "from_adapter",
                "'from_adapter' cannot work here: what this method saves does not hold all that it trains; "
                "merge the earlier adapter and give the merged folder as model.source",
            )
        return self

    @abstractmethod
    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return the method's ``peft.PeftConfig`` for *model*.

        Raises:
            StepError: the model has nothing that the method could adapt.
        """

    def prepare(self, model: "PreTrainedModel") -> "PreTrainedModel":
        """Change the base before adapters are put on it."""
        return model

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Freeze *model* and put the adapter on it."""
        with without_known_warnings():
            from peft import get_peft_model
            from peft.tuners.tuners_utils import BaseTunerLayer

            config = self.peft_config(model, open_task(task).peft_type, steps)
            adapted: PreTrainedModel = get_peft_model(self.prepare(model), config)
        for module in adapted.modules():
            # peft copies each layer's input to the adapter's float32; autocast casts it back at once.
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = False
        if config.is_prompt_learning:
            number_positions(adapted)
        if self.from_adapter is not None:
            self._begin_from(self.from_adapter, adapted)
        return adapted

    def _begin_from(self, source: Source, adapted: Any) -> None:
        from peft.utils import load_peft_weights, set_peft_model_state_dict

        folder = source.fetch()
        if not (folder / ADAPTER_CONFIG).is_file():
            raise StepError(
                f"tuning.from_adapter: {source.url} has no {ADAPTER_CONFIG}; give a PEFT adapter's folder"
            )
        theirs = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        ours = adapted.peft_config["default"].to_dict()
        for name, key in _SHAPING.items():
            if name in ours and _comparable(ours[name]) != _comparable(theirs.get(name)):
                there, here = _comparable(theirs.get(name)), _comparable(ours[name])
                change = f"set tuning.{key}={_typed(there)}" if key else "choose the same method"
                raise StepError(f"tuning.from_adapter: {source.url} has {name} {there}, not {here}; {change}")
        try:
            result = set_peft_model_state_dict(adapted, load_peft_weights(str(folder), device="cpu"))
        except (RuntimeError, KeyError) as error:
            raise StepError(
                f"tuning.from_adapter: {source.url} does not fit this model: {first_line(error)}; "
                "use the base that it was trained on"
            ) from error
        if adapted.peft_config["default"].is_prompt_learning:
            return  # a prompt has no layers that could differ
        ours_only = [name for name in result.missing_keys if adapted.get_parameter(name).requires_grad]
        for names, where in ((ours_only, "only this config"), (result.unexpected_keys, f"only {source.url}")):
            if names:
                layer = sorted(names)[0].removeprefix("base_model.model.")
                raise StepError(
                    f"tuning.from_adapter: {where} has {layer}; give tuning.target_modules as they were then"
                )

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write a PEFT adapter: ``adapter_config.json`` and ``adapter_model.safetensors``."""
        whole = model.state_dict() if state is None else dict(state)
        # Embeddings are never resized here; whether they were, peft would look up on the network.
        model.save_pretrained(output, state_dict=whole, save_embedding_layers=False)
        body = json.loads((output / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        # Where the base model lay on this machine is no use elsewhere.
        body["base_model_name_or_path"] = None
        write_config(output, body)
        (output / "README.md").unlink(missing_ok=True)

    def merge(self, base: "PreTrainedModel", tuned: Path) -> "PreTrainedModel":
        """Work the adapter into the float weights and drop it."""
        if not self.merges:
            raise StepError(f"tuning: what {type(self).__name__} trains cannot become part of the weights")
        with without_known_warnings():
            from peft import PeftModel

            adapted = PeftModel.from_pretrained(base, str(tuned))
            _unwrap_heads(adapted)
            merged: PreTrainedModel = adapted.merge_and_unload()
        return merged


def _unwrap_heads(adapted: Any) -> None:
    """Put every head that was trained whole in its place: peft's merging fails on one of several layers."""
    from peft.utils import ModulesToSaveWrapper

    wrapped = [
        (path, part) for path, part in adapted.named_modules() if isinstance(part, ModulesToSaveWrapper)
    ]
    for path, part in wrapped:
        parent, _, name = path.rpartition(".")
        setattr(adapted.get_submodule(parent), name, part.modules_to_save[part.active_adapters[0]])


def write_config(folder: Path, body: dict[str, Any]) -> None:
    """Write ``adapter_config.json``: the same bytes for the same *body*."""
    # peft keeps module names in sets, whose order changes from process to process.
    settled = {name: sorted(value) if _is_names(value) else value for name, value in body.items()}
    (folder / ADAPTER_CONFIG).write_text(
        json.dumps(settled, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _is_names(value: Any) -> bool:
    return isinstance(value, list | set | tuple) and all(isinstance(item, str) for item in value)


def _comparable(value: Any) -> Any:
    return sorted(value) if _is_names(value) else value


def _typed(value: Any) -> str:
    """Return *value* as it is typed after an override's ``=``.

    >>> _typed(["a", "b"]), _typed(4), _typed(True)
    ('[a,b]', '4', 'true')
    """
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
