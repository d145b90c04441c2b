"""Import a module that an option names: one of ours by a bare name, a plugin's by its dotted path."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


def is_importable(name: str, package: str) -> bool:
    """Return whether ``import_named`` would find *name*; only a plugin's own package is imported."""
    if "." not in name:
        return find_spec(f"{package}.{name}") is not None
    _search_working_folder()
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def import_named(name: str, package: str) -> ModuleType:
    """Import *name*: a module of *package* if it is bare, exactly that module if it is dotted.

    A name is not checked against ``plugins`` here. It comes from an option's class, whose package was
    checked when the config was loaded, or from the lock of a release that was built from such a config.

    Args:
        name: such as ``onnxruntime`` or ``ourpackage.our_engine``.
        package: where bare names are looked up.

    Raises:
        ImportError: there is no such module.

    >>> import_named("decoder", "json").__name__, import_named("json.encoder", "json").__name__
    ('json.decoder', 'json.encoder')
    """
    if "." not in name:
        return import_module(f"{package}.{name}")
    _search_working_folder()
    return import_module(name)


def _search_working_folder() -> None:
    """Let Python find a plugin in the working folder; installed packages come first."""
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
