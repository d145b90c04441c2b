"""``python -m benchmarks [name …]``: run the named benchmarks, or all short ones.

Each prints rows of figure, value and bound. The exit code is 1 if a value exceeds its bound.
"""

import sys
from importlib import import_module

QUICK = ("startup", "composing", "cached", "rendering")
LONG = ("choices", "cleaning", "data_memory", "exported", "methods", "quickstart", "serving", "training")
BESIDE = ("vllm",)
"""Those that need a program in an environment of its own."""


def main(names: list[str]) -> int:
    """Run the benchmarks in *names* and return the exit code."""
    unknown = [name for name in names if name not in (*QUICK, *LONG, *BESIDE)]
    if unknown:
        print(f"no benchmark '{unknown[0]}'; known: {', '.join((*QUICK, *LONG, *BESIDE))}", file=sys.stderr)
        return 2
    failed = False
    for name in names or QUICK:
        print(f"{name}:")
        for figure, value, bound in import_module(f"benchmarks.{name}").measure():
            outside = bound is not None and value > bound
            failed |= outside
            verdict = "" if bound is None else f"  at most {bound:g}: {'MISSED' if outside else 'met'}"
            print(f"  {figure:<52} {value:>9.2f}{verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
