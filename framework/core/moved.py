"""Old module paths of options, forwarded to the new ones for one release, with a warning.

A plugin's ``import framework.tuning.peft_adapter`` and a config's ``_target_: framework.tuning.lora.LoRA``
keep working in 0.1; 0.2 removes this file.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:  # importing them takes 2 ms of every command; the import system asks for the methods only
    Loader = MetaPathFinder = object

_BUILD = (
    *("compression", "data", "engine", "evaluation", "export", "launcher", "model", "parallelism"),
    *("stages", "task", "tracking", "training", "tuning"),
)
_DELIVERY = ("autoscaling", "deployment", "environment", "monitoring", "rollout", "secrets", "traffic")
FOLDERS = {f"framework.{name}": f"framework.build.{name}" for name in _BUILD} | {
    f"framework.{name}": f"framework.delivery.{name}" for name in _DELIVERY
}
"""The groups' folders, old to new."""
RENAMED = {
    "framework.compression.fake_quantised": "framework.build.compression.fake_quantized",
    "framework.compression.layernames": "framework.build.compression.layer_names",
    "framework.compression.grid": "framework.build.compression.rounding_grid",
    "framework.compression.folder": "framework.build.compression.save_model",
    "framework.compression.half": "framework.build.compression.sixteen_bit",
    "framework.compression.distillation": "framework.build.compression.teacher_training",
    "framework.core.bound": "framework.core.gates",
    "framework.core.files": "framework.core.filesystem",
    "framework.core.machine": "framework.core.machine_rank",
    "framework.core.memory": "framework.core.peak_memory",
    "framework.core.metrics": "framework.core.metric_names",
    "framework.core.quiet": "framework.core.silence_libraries",
    "framework.core.remote": "framework.core.remote_files",
    "framework.core.words": "framework.core.suggest",
    "framework.data.formats": "framework.build.data.file_formats",
    "framework.data.rows": "framework.build.data.row_formats",
    "framework.deployment.cluster": "framework.delivery.deployment.cluster_deployment",
    "framework.deployment.companions": "framework.delivery.deployment.compose_services",
    "framework.deployment.pod": "framework.delivery.deployment.server_pod",
    "framework.engine.adapter": "framework.build.engine.attached_adapter",
    "framework.engine.dequantise": "framework.build.engine.dequantize",
    "framework.engine.folder": "framework.build.engine.model_folder",
    "framework.engine.padding": "framework.build.engine.padded_batches",
    "framework.engine.text": "framework.build.engine.text_decoder",
    "framework.engine.widths": "framework.build.engine.bit_width",
    "framework.evaluation.text": "framework.build.evaluation.text_metrics",
    "framework.export.folder": "framework.build.export.companion_files",
    "framework.launcher.api": "framework.manifests.kubernetes_api",
    "framework.launcher.cluster": "framework.build.launcher.cluster_launcher",
    "framework.launcher.following": "framework.build.launcher.follow_job",
    "framework.launcher.pod": "framework.build.launcher.worker_pod",
    "framework.manifests.signals": "framework.manifests.server_signals",
    "framework.model.labelled": "framework.build.model.label_encoding",
    "framework.monitoring.bounds": "framework.delivery.monitoring.thresholds",
    "framework.monitoring.watched": "framework.delivery.monitoring.selectors",
    "framework.parallelism.spread": "framework.build.parallelism.sharding",
    "framework.serving.tags": "framework.serving.engine.entity_worker",
    "framework.serving.text": "framework.serving.engine.tokenization",
    "framework.serving.triton": "framework.serving.triton_repository",
    "framework.serving.worker": "framework.serving.engine.model_worker",
    "framework.stages.render": "framework.render",
    "framework.stages.speed": "framework.build.stages.time_candidate",
    "framework.task.preference": "framework.build.task.preference_pairs",
    "framework.task.tags": "framework.build.task.bioes",
    "framework.training.average": "framework.build.training.ema",
    "framework.training.fitting": "framework.build.training.micro_batch_search",
    "framework.training.machines": "framework.build.training.join",
    "framework.training.memory": "framework.build.training.memory_estimate",
    "framework.training.noise": "framework.build.training.neftune",
    "framework.training.saving": "framework.build.training.checkpoint_schedule",
    "framework.training.speed": "framework.build.training.throughput",
    "framework.training.tracked": "framework.build.training.metric_logging",
}
"""Modules that also have another name. ``cli``, ``gitops``, ``plan`` and ``rules`` are not forwarded."""


def new_path(module: str) -> str | None:
    """Return the new path of *module*; None if it has not moved.

    >>> new_path("framework.tuning.lora")
    'framework.build.tuning.lora'
    >>> new_path("framework.core.step")
    """
    if module in RENAMED:
        return RENAMED[module]
    folder = ".".join(module.split(".")[:2])
    return FOLDERS[folder] + module.removeprefix(folder) if folder in FOLDERS else None


class _Forwarding(Loader):
    """Loads the module at the new path, so that both names are one object."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._own: dict[str, object] = {}

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._path)
        self._own = {name: vars(module).get(name) for name in ("__spec__", "__path__")}
        return module

    def exec_module(self, module: ModuleType) -> None:
        for name, value in self._own.items():  # the import system has replaced them
            if value is None:
                vars(module).pop(name, None)
            else:
                setattr(module, name, value)


class _MovedFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if (path_now := new_path(fullname)) is None:
            return None
        if importlib.util.find_spec(path_now) is None:
            return None
        warnings.warn(
            f"{fullname} is now {path_now}; the old path works until Gitune 0.2", FutureWarning, stacklevel=2
        )
        return ModuleSpec(fullname, _Forwarding(path_now), is_package=True)


def forward_old_paths() -> None:
    """Install the forwarding, before the finder that would load a second copy of a moved module."""
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MovedFinder())
