"""One composed config, not validated yet: its keys, and the words and files that it was composed of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from framework.config.merge_order import ConfigFile, MergeOrder, merge_order
from framework.config.options import recipe_name
from framework.config.yaml_source import EVERYTHING, Fault


@dataclass(frozen=True)
class Composition:
    """One composed config."""

    config: dict[str, Any]
    """Plain data with its interpolations, and ``???`` for a key without a value."""
    words: tuple[str, ...]
    """The overrides in Hydra's form, such as ``++tuning.rank=8``."""
    choices: dict[str, str | None]
    """The chosen option of each group; for a list of options, there is none."""
    order: MergeOrder | None = None

    @classmethod
    def of_hydra(cls, config: DictConfig) -> "Composition":
        """Return the *config* that Hydra composed last."""
        words: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
        choices = {str(key): value for key, value in HydraConfig.get().runtime.choices.items()}
        own = {key: value for key, value in choices.items() if not key.startswith("hydra/")}
        plain: Any = OmegaConf.to_container(config, resolve=False)
        return cls(plain, tuple(map(str, words)), own)

    @cached_property
    def files(self) -> Sequence[tuple[tuple[str, ...], ConfigFile]]:
        """The files in merge order, each with the place that it is merged at."""
        return (self.order or merge_order(self.words)).files

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong in the files, each key as it is in the config."""
        first = {file.path: (file, package) for package, file in reversed(self.files)}
        for file, package in first.values():
            within = "" if recipe_name(file.path) else ".".join(package)
            yield from (_below(fault, within) for fault in file.faults)


def _below(fault: Fault, package: str) -> Fault:
    """Return *fault* of an option's file with its key as it is in the config."""
    if not package or fault.hides == EVERYTHING:
        return fault
    key = ".".join(filter(None, (package, fault.problem.key)))
    return replace(fault, problem=replace(fault.problem, key=key), hides=key)
