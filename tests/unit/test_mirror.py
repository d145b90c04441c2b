"""``conf/`` mirrors ``framework/``: every option has a class, and every class an option."""

import inspect
from importlib import import_module
from pkgutil import iter_modules

import pytest
import yaml

from framework.build.compression import ExportCompression
from framework.build.stages.parity import WIDTHS
from framework.config.schema import BASES, GROUPS, SEVERAL
from framework.core.component import Component
from framework.core.paths import SHARE

CONF = SHARE / "conf"
OPTIONS = sorted(CONF.glob("*/*.yaml"))


def concrete(group: str) -> dict[str, type[Component]]:
    """Return the concrete option classes of the group's package by full name."""
    base = BASES[group]
    assert base.__module__ in {f"framework{half}.{group}" for half in (".build", ".delivery", "")}
    package = import_module(base.__module__)
    classes = {}
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        for name, cls in inspect.getmembers(import_module(module.name), inspect.isclass):
            defined_here = cls.__module__ == module.name
            if defined_here and issubclass(cls, base) and not inspect.isabstract(cls):
                classes[f"{module.name}.{name}"] = cls
    return classes


def content(file) -> dict:
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: file.relative_to(CONF).as_posix())
def test_option_names_a_class_of_its_group(file):
    target = content(file)["_target_"]
    assert target in concrete(file.parent.name)


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: file.relative_to(CONF).as_posix())
def test_option_sets_only_keys_of_its_class(file):
    keys = content(file)
    cls = concrete(file.parent.name)[keys.pop("_target_")]
    assert set(keys) - {"defaults"} <= set(cls.model_fields)


@pytest.mark.parametrize("group", GROUPS)
def test_class_of_a_group_has_an_option(group):
    named = {content(file)["_target_"] for file in (CONF / group).glob("*.yaml")}
    assert concrete(group), f"no option is defined for {group}"
    assert set(concrete(group)) == named


@pytest.mark.parametrize("group", GROUPS)
def test_module_defines_at_most_one_option(group):
    modules = [name.rpartition(".")[0] for name in concrete(group)]
    assert len(modules) == len(set(modules))


@pytest.mark.parametrize("group", GROUPS)
def test_inheritance_has_at_most_two_levels(group):
    base = BASES[group]
    for name, cls in concrete(group).items():
        ancestors = [parent for parent in cls.__mro__ if issubclass(parent, base)]
        assert len(ancestors) <= 3, name


MAPPING_OPTIONS = [file for file in OPTIONS if file.parent.name in SEVERAL]


@pytest.mark.parametrize("file", MAPPING_OPTIONS, ids=lambda file: file.stem)
def test_option_of_a_mapping_group_has_its_own_package(file):
    assert file.read_text().startswith(f"# @package {file.parent.name}.{file.stem}\n")


def test_export_compression_claims_a_counted_bit_width():
    claims = [option for option in concrete("compression").values() if issubclass(option, ExportCompression)]
    assert claims
    for option in claims:
        assert option.bits in WIDTHS, option
        assert 0 < option.least_share <= 1, option
