"""Export decoders to ONNX with a KV cache, with onnxruntime-genai's model builder."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from framework.build.engine.model_folder import read_json
from framework.build.export import Export
from framework.build.export.companion_files import copy_companions
from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

_ARCHITECTURES = (
    "Ernie4_5ForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "GemmaForCausalLM",
    "GptOssForCausalLM",
    "GraniteForCausalLM",
    "HunYuanDenseV1ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "NemotronForCausalLM",
    "Phi3ForCausalLM",
    "PhiForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
"""Those of the model builder (onnxruntime-genai 0.18) whose graphs compute what transformers computes.

It has others that are left out: OLMo's layer norms come out as another kind, SmolLM3's layers without
positions fail, and hybrid models need more than a key-value cache.
"""
_ROPE_TYPES = {
    # Scaled by no other type, in silence; dynamic scales only beyond max_position_embeddings.
    "LlamaForCausalLM": ("default", "llama3", "dynamic"),
    "NemotronForCausalLM": ("default",),
    "Phi3ForCausalLM": ("default", "longrope", "su"),
    "HunYuanDenseV1ForCausalLM": ("default", "dynamic"),
}
"""The rotary embeddings that the builder computes right."""
_OTHER_ROPE_TYPES = ("default", "linear", "yarn")


class OnnxGenai(Export):
    """``model.onnx`` and ``genai_config.json`` for onnxruntime-genai.

    Sliding windows are masks over a full key-value cache, which needs more memory than a bounded one.
    """

    engine: ClassVar[str] = "genai"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)

    def unsupported(self, model_config: Mapping[str, Any]) -> str:
        """Return the architecture or the rotary embedding that the builder lacks; see the base class."""
        architecture = (model_config.get("architectures") or [""])[0]
        if not architecture.endswith(("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")):
            return ""  # transformers names the class with the head when it saves the model
        if architecture not in _ARCHITECTURES:
            known = ", ".join(name.removesuffix("ForCausalLM") for name in _ARCHITECTURES)
            return f"onnx-genai does not support {architecture}; it has {known}"
        rope = model_config.get("rope_parameters") or model_config.get("rope_scaling") or {}
        rope = rope.get("full_attention") or rope
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind not in _ROPE_TYPES.get(architecture, _OTHER_ROPE_TYPES):
            return f"onnx-genai does not support {architecture} with rope type '{kind}'"
        return ""

    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Build the graph for the CPU; see the base class."""
        import tempfile

        from onnxruntime_genai.models.builder import create_model, parse_extra_options

        # Never run code from a model folder.
        # With a bounded cache, a layer with a window accepts neither an empty cache nor a prompt beyond it.
        options = [
            "hf_remote=false",
            "windowed_kv_cache=false",
            *([f"block_size={block_size}"] if precision == "int4" else []),
        ]
        with tempfile.TemporaryDirectory() as cache, quiet(), _without_git():
            arguments = ("", str(model), str(output), precision, "cpu", cache)
            try:
                parsed = parse_extra_options(*arguments, options)
                _name_as_the_builder_does(parsed["hf_details"]["hf_config"])
                create_model(*arguments, **parsed)
            except Exception as error:  # the builder raises anything where it does not know a part
                architecture = read_json(model, "config.json").get("architectures")
                raise StepError(
                    f"export=onnx-genai does not support {architecture}: {first_line(error)}; "
                    "set export=transformers"
                ) from error
        copy_companions(model, output)


def _name_as_the_builder_does(config: Any) -> None:
    """Change a transformers config in place where the builder reads older names, or other defaults.

    Without this, the builder refuses Gemma 3 and Phi-3, and in silence it leaves out Mistral's window and
    takes another epsilon for layer norms.
    """
    if not hasattr(config, "rms_norm_eps"):
        config.rms_norm_eps = getattr(config, "layer_norm_eps", getattr(config, "norm_eps", 1e-6))
    window, types = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if window and not types:
        config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    rope = getattr(config, "rope_parameters", None) or {}
    if "sliding_attention" in rope:
        config.rope_local_base_freq = rope["sliding_attention"]["rope_theta"]
        config.rope_parameters = rope["full_attention"]
    elif rope.get("rope_type") == "longrope":
        config.rope_parameters = {**rope, "type": "longrope"}
    elif rope.get("rope_type") == "yarn":  # the defaults of transformers
        config.rope_parameters = {"beta_fast": 32, "beta_slow": 1, **rope}
    elif hasattr(config, "original_max_position_embeddings"):
        config.original_max_position_embeddings = config.max_position_embeddings


@contextlib.contextmanager
def _without_git() -> Iterator[None]:
    """Hide Git from the builder.

    It would write the commit of whatever repository holds the virtual environment into ``model.onnx``, and
    the same inputs would give other bytes after each commit.
    """
    previous = os.environ.get("GIT_DIR")
    os.environ["GIT_DIR"] = os.devnull
    try:
        yield
    finally:
        if previous is None:
            del os.environ["GIT_DIR"]
        else:
            os.environ["GIT_DIR"] = previous
