"""Composing configs in another checkout."""

from pathlib import Path

from framework.gitops import remote_compose


def test_module_path_names_the_module_itself():
    """Otherwise a checkout of the framework would never be rendered by its own code."""
    assert Path(remote_compose.__file__).as_posix().endswith(f"/{remote_compose._MODULE.as_posix()}")
