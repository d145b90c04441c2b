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
    "framework.core.bound": "framework.core.gates",
    "framework.core.files": "framework.core.filesystem",
    "framework.core.metrics": "framework.core.metric_names",
    "framework.data.formats": "framework.build.data.file_formats",
    "framework.data.rows": "framework.build.data.row_formats",
    "framework.deployment.cluster": "framework.delivery.deployment.cluster_deployment",
    "framework.deployment.pod": "framework.delivery.deployment.server_pod",
    "framework.engine.folder": "framework.build.engine.model_folder",
    "framework.export.folder": "framework.build.export.companion_files",
    "framework.launcher.cluster": "framework.build.launcher.cluster_launcher",
    "framework.launcher.pod": "framework.build.launcher.worker_pod",
    "framework.task.tags": "framework.build.task.bioes",
}
"""Modules that plugins import and that have another name, too."""


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
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._path)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # which the import system has replaced


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
