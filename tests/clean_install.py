"""Hide every distribution that the core dependencies of pyproject.toml do not bring, as in a clean install.

Neither modules nor metadata of a hidden distribution are found, in child processes too.
"""

import os
import sys
import tomllib
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(environ: dict[str, str], folder: Path) -> dict[str, str]:
    """Return *environ* for processes that hide what is no core dependency; *folder* is an empty one."""
    (folder / "sitecustomize.py").write_text("import clean_install\n\nclean_install.hide()\n")
    return {**environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT / "tests", ROOT)))}


def _core() -> set[str]:
    """Return the names of the core dependencies and of all that they require."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    waiting = [Requirement(text) for text in pyproject["project"]["dependencies"]]
    seen = {("gitune", "")}
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            known = (canonicalize_name(wanted.name), extra)
            if known in seen:
                continue
            seen.add(known)
            inner = map(Requirement, metadata.requires(wanted.name) or ())
            waiting += [r for r in inner if r.marker is None or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def _modules(core: set[str]) -> set[str]:
    """Return the top-level modules that only hidden distributions have."""
    from packaging.utils import canonicalize_name

    return {
        module
        for module, names in metadata.packages_distributions().items()
        if not core & {canonicalize_name(name) for name in names}
    }


class _Finder:
    """Finds what Python finds on its path, without what is hidden."""

    def __init__(self, core: set[str], hidden: set[str]) -> None:
        self.core, self.hidden = core, hidden

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in self.hidden else PathFinder.find_spec(name, path, target)

    def find_distributions(self, context):
        from packaging.utils import canonicalize_name

        found = PathFinder.find_distributions(context)
        return (each for each in found if canonicalize_name(each.name or "") in self.core)

    def invalidate_caches(self):
        PathFinder.invalidate_caches()


def hide() -> None:
    """Hide them from this process; its children read the answer from a variable."""
    known = os.environ.get("GITUNE_CLEAN_INSTALL")
    if known:
        core, hidden = (set(part.split(",")) for part in known.split(";"))
    else:
        core = _core()
        hidden = _modules(core)
        os.environ["GITUNE_CLEAN_INSTALL"] = f"{','.join(core)};{','.join(hidden)}"
    sys.meta_path[sys.meta_path.index(PathFinder)] = _Finder(core, hidden)
