import re
import sys
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from framework.config.jsonschema import option_classes
from framework.config.load import resolved
from framework.config.owner import choices, field, owner
from framework.config.peers import answers, split_answer
from framework.config.problems import as_problem
from framework.config.schema import GROUPS, SEVERAL, Config, Phase
from framework.core.gates import Bound
from framework.core.paths import SHARE

LORA = ("+recipe=tiny", "tuning=lora")
QUOTED = re.compile(r"'([a-z_]+(?:[.=][^'\s]*)?)'")


@pytest.fixture(scope="module")
def classes() -> dict:
    return {group: option_classes(group, (SHARE,)) for group in GROUPS}


@pytest.fixture
def advice(compose):
    """Plant keys in a config of *words*, at the top or below *path*, and return the advice for each."""

    def call(planted: dict, path: str = "", words: tuple[str, ...] = LORA) -> dict:
        raw, _ = resolved(compose(*words))
        mapping = raw
        for key in path.split(".") if path else []:
            mapping = mapping[key]
        mapping.update({key: value for key, value in planted.items() if key not in mapping})
        with pytest.raises(ValidationError) as caught:
            Config.model_validate(raw)
        return {
            str(error["loc"][-1]): as_problem(error, Config, raw).advice
            for error in caught.value.errors()
            if error["type"] == "extra_forbidden"
        }

    return call


def every_answer() -> Iterator[tuple[str, str]]:
    for key, answer in answers().items():
        for text in answer.values() if isinstance(answer, dict) else [answer]:
            yield key, text


def accepted(word: str, classes: dict) -> bool:
    """Tell whether *word* is a key of the schema, or a choice or value that it accepts."""
    key, assigned, value = word.partition("=")
    group, _, name = key.partition(".")
    if group not in GROUPS:
        return field(Config, key) is not None and not assigned
    if not name:
        return not assigned or value == "<option>" or value in classes[group]
    known = classes[group].values()
    if group in SEVERAL:
        option, _, name = name.partition(".")
        known = [classes[group].get(option)]
    fields = [found for cls in known if cls and (found := field(cls, name))]
    return bool(fields) and (not assigned or "<" in value or any(_takes(found, value) for found in fields))


def _takes(found, value: str) -> bool:
    values = {str(choice).lower() for choice in choices(found.annotation)}
    return value in values or not values


def test_every_answer_names_what_the_schema_accepts(classes):
    wrong = {}
    for text in sorted({text for _, text in every_answer()}):
        ours, rest = split_answer(text)
        words = [*([ours] if ours else []), *QUOTED.findall(rest)]
        if unknown := [word for word in words if not accepted(word, classes)]:
            wrong[text] = unknown
    assert wrong == {}


def test_every_key_of_a_tool_is_answered_everywhere(advice):
    planted = {key: 1 for key in answers() if "*" not in key and "." not in key}
    for path in ("", "training"):
        said = advice(planted, path)
        wrong = {
            key: words
            for key, words in said.items()
            if words.startswith("choose one of") or (words.startswith("did you") and f"{key}'" not in words)
        }
        assert wrong == {}
        assert len(said) > 1000


@pytest.mark.parametrize(
    ("planted", "path", "ours"),
    [
        ({"lora_r": 8}, "", "use 'tuning.rank'"),
        ({"r": 8}, "tuning", "use 'tuning.rank'"),
        (
            {"lora": {"r": 8, "lora_alpha": 16}},
            "",
            "use 'tuning.rank' for 'r', 'tuning.alpha' for 'lora_alpha'",
        ),
        ({"peft": {"dim": 8}}, "", "use 'tuning.rank' for 'dim'"),
        ({"dataset": {"path": "a.jsonl"}}, "", "use 'data.train' for 'path'"),
        ({"optim": {"name": "adamw_torch"}}, "", "use 'training.optimizer=adamw' for 'name'"),
        ({"optimizer": {"init_args": {"lr": 1}}}, "", "use 'training.learning_rate' for 'lr'"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "", "use 'training.schedule=wsd'"),
        ({"lr_scheduler_type": "cosine"}, "", "use 'training.schedule'"),
        (
            {"lr_scheduler_type": "polynomial"},
            "",
            "use 'training.schedule', one of linear, cosine, constant, inverse-sqrt, wsd",
        ),
        ({"bf16": True}, "", "use 'training.precision=bf16'"),
        ({"load_in_4bit": True}, "", "use 'tuning=qlora'"),
        ({"adapter": None}, "", "use 'tuning=full'"),
        ({"load_in_4bit": False}, "", "remove it, 'tuning=qlora' is for another value"),
        (
            {"val_size": 0.1},
            "",
            "use 'training.validation.share', or 'data.test_fraction' for rows that judge the model",
        ),
        ({"val_size": 100}, "", "use 'training.validation.rows'"),
        (
            {"deepspeed": "ds_z3.json"},
            "",
            "use 'parallelism=deepspeed-3', with the file as 'parallelism.config_file'",
        ),
        ({"stage": "sft"}, "", "use 'training=supervised'"),
        ({"report_to": "wandb"}, "", "use 'tracking=wandb'"),
        ({"target_r": 8}, "", "use 'tuning.target_rank' with tuning=adalora"),
        ({"target_rank": 8}, "tuning", "it is a key of tuning=adalora"),
        ({"freeze_trainable_layers": 2}, "tuning", "use 'tuning.layers=last-<number>' with tuning=head"),
        ({"qat_group_size": 32}, "", "use 'compression.qat.group_size' with compression=qat"),
        ({"truncation": True}, "data", "use 'data.too_long', one of reject, truncate"),
        (
            {"trainer": {"data": {"path": "x"}, "model": {"revision": "main"}}},
            "",
            "use 'data.train' for 'path', 'model.source' with model=smollm2-135m for 'revision'",
        ),
        ({"galore_rank": 8}, "training", None),
        ({"lr": 1}, "compression.qat.training", "use 'compression.qat.training.learning_rate'"),
        ({"image_pull_secrte": "x"}, "deployment", "did you mean 'image_pull_secret'?"),
    ],
    ids=str,
)
def test_key_of_a_tool_is_answered_with_ours(advice, planted, path, ours):
    (said,) = advice(planted, path, (*LORA, "compression=qat") if "qat" in path else LORA).values()
    assert said == ours or (ours is None and "training.optimizer" in said)


def test_valid_config_reads_no_table(config, monkeypatch):
    monkeypatch.delitem(sys.modules, "framework.config.peers")
    config("+recipe=tiny")
    assert "framework.config.peers" not in sys.modules


@pytest.mark.parametrize(
    ("path", "cls"),
    [
        (("phases", "data"), Phase),
        (("gates", "min"), Bound),
        (("trainer",), None),
        (("trainer", "data"), None),
    ],
)
def test_owner_of_a_chosen_name_is_its_class(path, cls):
    raw = {"phases": {"data": {}}, "gates": {"min": {}}, "trainer": {"data": {}}}
    assert owner(Config, raw, path) is cls
