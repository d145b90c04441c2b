"""Stop the build of an image whose torch is for another device: ``require_torch.py cpu`` or ``cuda``.

It reads the version file of the installed torch and imports nothing, since torch's libraries come later.
"""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

DEVICES = ("cpu", "cuda")


def main(device: str) -> None:
    """Exit with what is wrong and how to fix it, unless the installed torch is built for *device*."""
    if device not in DEVICES:
        sys.exit(f"DEVICE: '{device}' is no device; set --build-arg DEVICE=cpu, or cuda")
    found = find_spec("torch")
    if found is None or found.origin is None:
        sys.exit("torch is not installed; install it before this check")
    built = runpy.run_path(str(Path(found.origin).with_name("version.py")))
    actual = next((name for name in ("cuda", "hip", "xpu") if built.get(name)), "cpu")
    if actual != device:
        fix = f"set --build-arg TORCH_INDEX to an index that has torch for {device}"
        other = f", or --build-arg DEVICE={actual}" if actual in DEVICES else ""
        sys.exit(f"DEVICE={device}, but torch {built['__version__']} is built for {actual}; {fix}{other}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
