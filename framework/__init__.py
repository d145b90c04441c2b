"""Gitune: one YAML recipe, carried to a tuned, checked, exported and served model.

The package knows nothing at import time but its own version; every heavy library is imported
inside the function that needs it.
"""

__version__ = "0.1.0"
