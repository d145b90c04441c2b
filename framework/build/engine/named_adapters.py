"""One open language model with several LoRA adapters, of which each answer uses one or none.

Adapters are not merged, and answers run one after another, so each is computed with its own adapter alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.build.engine.attached_adapter import WEIGHTS, without_known_warnings
from framework.build.engine.batches import OneByOne
from framework.build.engine.model_folder import ADAPTER_CONFIG, read_json
from framework.build.engine.torch_models import TorchDecoder
from framework.core.error_text import first_line
from framework.core.errors import ServeError


class AdaptedOneByOne(OneByOne):
    """Answers requests in the order of their arrival, each with the adapter that was chosen before it."""

    def __init__(self, decoder: TorchDecoder, names: Mapping[str, str]) -> None:
        """Use no adapter yet.

        Args:
            decoder: its model is peft's, with all adapters.
            names: peft's name of each adapter.
        """
        super().__init__(decoder)
        self._model, self._names = decoder.model, dict(names)
        self.use(None)

    def use(self, adapter: str | None) -> None:
        """Answer later requests with *adapter*, None with the bare model; no request may be running."""
        assert not self._running, "an answer has one adapter from its first to its last token"
        if adapter is None:
            self._model.base_model.disable_adapter_layers()
        else:
            self._model.base_model.enable_adapter_layers()
            self._model.set_adapter(self._names[adapter])


def attach_all(model: Any, adapters: Mapping[str, Path]) -> tuple[Any, dict[str, str]]:
    """Return *model* with all *adapters*, in evaluation mode, and peft's name of each.

    Raises:
        ServeError: an adapter is no LoRA, would change the bare model, or does not match it.
    """
    with without_known_warnings():
        from peft import PeftModel

        names: dict[str, str] = {}
        for adapter, folder in adapters.items():
            refuse_others(folder)
            names[adapter] = name = f"adapter{len(names)}"  # peft allows no dots
            try:
                if len(names) == 1:
                    model = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
                else:
                    model.load_adapter(str(folder), adapter_name=name)
            except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
                raise ServeError(
                    f"{folder}: the adapter does not match the model: {first_line(error)}"
                ) from error
            _check_weights(model, name, folder)
    return model.eval(), names


def refuse_others(folder: Path) -> None:
    """Refuse what is not a LoRA that can be put aside again.

    Raises:
        ServeError: the folder has no such adapter.
    """
    if not (folder / ADAPTER_CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise ServeError(
            f"{folder}: no adapter: it needs {ADAPTER_CONFIG} and {WEIGHTS}, as tuning=lora writes them"
        )
    body = read_json(folder, ADAPTER_CONFIG)
    if (kind := body.get("peft_type")) != "LORA":
        raise ServeError(f"{folder}: a {kind} adapter; several of a model can only be LoRA adapters")
    if (bias := body.get("bias") or "none") != "none":
        raise ServeError(f"{folder}: it has biases (bias={bias}), which would change the model beside it")


def _check_weights(model: Any, name: str, folder: Path) -> None:
    """Check that every tensor of the file is in the model: peft only warns.

    Raises:
        ServeError: one is not, or one of the model's is not in the file.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    saved = load_file(folder / WEIGHTS)
    loaded = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    for key in sorted(saved.keys() ^ loaded.keys()):
        raise ServeError(f"{folder}: the adapter does not match the model: {key} is in one of them only")
    for key, tensor in saved.items():
        if not torch.equal(tensor.float(), loaded[key].float()):
            raise ServeError(f"{folder}: {key} was not loaded as it is in {WEIGHTS}")
