"""Who wrote a key: the override on the command line, or the file and line that came last."""

from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from framework.config.recipes import recipe_file

KeyPath = Sequence[int | str]


def locate(path: KeyPath) -> tuple[str, bool]:
    """Name the last writer of the key at *path* in the config that Hydra composed.

    Returns:
        The place, such as ``recipes/x.yaml:7`` or ``command line 'tuning.rank=0'``, and whether it
        names the key already.
    """
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    dotted = ".".join(map(str, path))
    for override in reversed(overrides):
        key = override.lstrip("+~").partition("=")[0]
        if key == dotted or dotted.startswith(f"{key}."):
            return f"command line '{override.lstrip('+')}'", True
    loader = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(hydra.job.config_name, overrides, RunMode.RUN).defaults
    sources = [_files_of(source.schema, source.path) for source in hydra.runtime.config_sources]
    for default in reversed(defaults):
        package = tuple(part for part in (default.package or "").split(".") if part)
        if tuple(map(str, path[: len(package)])) != package or default.config_path is None:
            continue
        for file in filter(None, (find(default.config_path) for find in sources)):
            if line := line_of(file, path[len(package) :]):
                return f"{relative(file)}:{line}", False
    return "config", False


def _files_of(scheme: str, root: str) -> Callable[[str], Path | None]:
    def find(config_path: str) -> Path | None:
        if scheme == "recipes":
            file = recipe_file(root, config_path)
        else:
            file = Path(root, f"{config_path.removesuffix('.yaml')}.yaml") if scheme == "file" else None
        return file if file is not None and file.is_file() else None

    return find


def line_of(file: Path, path: KeyPath) -> int | None:
    """Return the line of *file* where the key at *path* stands, or None where it does not."""
    node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = None
    for key in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        for name, value in node.value:
            if name.value == str(key):
                line, node = name.start_mark.line + 1, value
                break
        else:
            return line if line and path[-1] == key else None
    return line


def relative(file: Path) -> str:
    """Return *file* as a path below the working folder where it is one."""
    try:
        return file.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return str(file)
