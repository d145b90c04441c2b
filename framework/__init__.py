"""Gitune: one YAML recipe, carried to a tuned, checked, exported and served model.

Importing the package costs nothing: heavy libraries are imported inside the functions that need them.
"""

from framework.core.moved import forward_old_paths

__version__ = "0.1.0"

forward_old_paths()
