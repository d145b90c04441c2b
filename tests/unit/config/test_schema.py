from itertools import zip_longest

import pytest

from framework.config.schema import GROUPS, SEVERAL
from framework.core.paths import SHARE

CONF = SHARE / "conf"
OPTIONS = sorted(file.relative_to(CONF).with_suffix("").as_posix() for file in CONF.glob("*/*.yaml"))


def test_conf_folders_are_the_groups():
    assert sorted(GROUPS) == sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())


def test_defaults_choose_an_option_of_every_group(compose):
    chosen = compose("data=tiny").config
    options = {group: chosen[group] for group in GROUPS if group not in SEVERAL}
    options |= {f"{group}.none": chosen[group]["none"] for group in SEVERAL}
    assert [group for group, option in options.items() if "_target_" not in option] == []


# One composition checks an option of every group.
BY_GROUP = [[option for option in OPTIONS if option.startswith(f"{group}/")] for group in GROUPS]
ROUNDS = [[*filter(None, row)] for row in zip_longest(*BY_GROUP)]


@pytest.mark.parametrize("options", ROUNDS, ids=lambda options: options[0])
def test_every_option_validates_and_is_documented(options, config):
    texts = {option: (CONF / f"{option}.yaml").read_text() for option in options}
    words = ["+recipe=tiny", *(option.replace("/", "=") for option in options)]
    if any("labels: []" in text for text in texts.values()):
        words.append("model.labels=[no,yes]")
    if any("\nentities: []" in text for text in texts.values()):
        words.append("model.entities=[city]")
    if "data/files" in options:
        words.append("data.train=rows.jsonl")
    if "data/requests" in options:
        words.append("data.log=requests")
    if "data/mix" in options:
        words.append("+data@data.parts.only.data=tiny")
    words += [
        f"{option.replace('/', '.')}.target=rows.jsonl"
        for option in options
        if "\ntarget: ???" in texts[option]
    ]
    composed = config(*words)
    for option, text in texts.items():
        group, _, name = option.partition("/")
        chosen = getattr(composed, group)
        chosen = chosen[name] if group in SEVERAL else chosen
        assert f"_target_: {type(chosen).__module__}.{type(chosen).__name__}\n" in text, option
        assert text.startswith("# "), f"{option}: its file begins with a comment that says what it is for"


def test_every_option_is_in_one_round():
    assert sorted(option for options in ROUNDS for option in options) == OPTIONS


def test_option_names_are_kebab_case():
    assert OPTIONS
    assert [name for name in OPTIONS if name != name.lower() or "_" in name or " " in name] == []
