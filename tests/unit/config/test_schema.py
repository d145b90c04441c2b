import pytest

from framework.config.schema import GROUPS, SEVERAL
from framework.core.paths import SHARE

CONF = SHARE / "conf"
OPTIONS = sorted(file.relative_to(CONF).with_suffix("").as_posix() for file in CONF.glob("*/*.yaml"))


def test_conf_folders_are_the_groups():
    assert sorted(GROUPS) == sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())


def test_defaults_choose_an_option_of_every_group(compose):
    chosen = compose("data=tiny")
    options = {group: chosen[group] for group in GROUPS if group not in SEVERAL}
    options |= {f"{group}.none": chosen[group]["none"] for group in SEVERAL}
    assert [group for group, option in options.items() if "_target_" not in option] == []


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_validates_and_is_documented(option, config):
    group, _, name = option.partition("/")
    words = ["+recipe=tiny", f"{group}={name}"]
    if "labels: []" in (CONF / f"{option}.yaml").read_text():
        words.append("model.labels=[no,yes]")
    if "entities: []" in (CONF / f"{option}.yaml").read_text():
        words.append("model.entities=[city]")
    if option == "data/files":
        words.append("data.train=rows.jsonl")
    if option == "data/mix":
        words.append("+data@data.parts.only.data=tiny")
    chosen = getattr(config(*words), group)
    if group in SEVERAL:
        chosen = chosen[name]
    dumped = f"{type(chosen).__module__}.{type(chosen).__name__}"
    text = (CONF / f"{option}.yaml").read_text()
    assert f"_target_: {dumped}\n" in text
    assert text.startswith("# "), "an option's file begins with a comment that says what it is for"


def test_option_names_are_kebab_case():
    assert OPTIONS
    assert [name for name in OPTIONS if name != name.lower() or "_" in name or " " in name] == []
