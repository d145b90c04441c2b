import json

import jsonschema
import pytest
from omegaconf import OmegaConf

from framework.config.jsonschema import schema_text
from framework.config.schema import GROUPS, Config
from framework.core.errors import ConfigError
from framework.core.paths import SHARE

FILE = SHARE / "recipes" / "schema.json"


@pytest.fixture(scope="module")
def schema() -> dict:
    return json.loads(schema_text((SHARE,)))


def test_committed_schema_is_up_to_date():
    assert schema_text((SHARE,)) == FILE.read_text(), "write it again: run schema > recipes/schema.json"


def test_schema_is_valid(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "recipe",
    [
        {"tuning": {"rnak": 8}},
        {"tuning": {"rank": 0}},
        {"trainig": {"epochs": 1}},
        {"training": {"precision": "bf17"}},
        {"training": {"epochs": "many"}},
        {"gates": {"exact_match": {"mn": 1}}},
        {"gates": {"exact_match": 0.5}},
        {"defaults": [{"override /model": "tinny"}]},
        {"defaults": {"override /model": "tiny"}},
        {"name": 3},
        {"phases": {"general": {"tuning": {"rnak": 8}}}},
        {"phases": {"general": {"trainig": {}}}},
        {"data": {"parts": {"new": {"data": {"trian": "rows.jsonl"}}}}},
        {"defaults": [{"/tuning@phases.general.tuning": "lroa"}]},
        *(
            {"defaults": [entry]}
            for entry in (
                {"override /modelx": "tiny"},
                {"override tuning": "lora"},
                {"/tuning": "lora"},
                {"tuning": "lora"},
                {"optional /tuning": "lora"},
                {"/tuning@foo.tuning": "lora"},
                {"/tuning@_global_": "lora"},
                {"/tuning@phases.general": "lora"},
                {"/export@phases.general.export": "onnx"},
                {"/model@tuning.model": "tiny"},
                {"override /tuning": None},
                {"override /tuning": 3},
                {"override /tuning": ["lora", "full"]},
                {"override /compression": []},
                {"override /compression": ["qat", "nope"]},
                {"override /hydra/nope": "none"},
                {"override /tuning": "lora", "override /model": "tiny"},
                {},
                None,
                3,
                ["tiny"],
                "tuning/lora",
                "/tuning/lora",
                "override /tuning: lora",
                "tiny@foo",
                "/config",
                "recipe/tiny",
            )
        ),
        {"defaults": [{"override /tuning": "lora"}, {"override /tuning": "full"}]},
        {"defaults": ["_self_", "_self_"]},
        {"defaults": ["tiny", "tiny"]},
        {"defaults": [{"/data@phases.general.data": "tiny"}] * 2},
        {"defaults": [{"override /tuning": "full"}], "tuning": {"rank": 8}},
        {"defaults": [{"override /training": "supervised"}], "training": {"beta": 0.1}},
        {"environment": {"namespace": "mine"}},  # the environment's option decides it
        {"environment": {"require_api_key": False}},
        {"defaults": [{"override /environment": "production"}], "environment": {"signers": {"keys": []}}},
    ],
    ids=str,
)
def test_schema_rejects_a_mistake(schema, recipe):
    assert not jsonschema.Draft202012Validator(schema).is_valid(recipe)


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"defaults": ["_self_", "tiny", {"override /model": "tiny"}]},
        {"data": {"train": "rows.jsonl"}},
        {"data": {"train": ["a.jsonl", {"url": "b.jsonl", "sha256": "0" * 64}]}},
        {"model": {"source": "hf://a/b@main"}},
        {"tuning": {"target_modules": ["q_proj"]}},
        {"gates": {"exact_match": {"min": 0.5}}},
        {"phases": {"general": {"tuning": {"rank": 8}, "data": {"train": "rows.jsonl"}}}},
        {"data": {"parts": {"new": {"data": {"train": "rows.jsonl"}, "share": 60}}}},
        {"defaults": [{"/tuning@phases.general.tuning": "lora"}]},
        {"defaults": [{"/data@data.parts.new.data": "files"}]},
        {"defaults": [{"/data@phases.general.data.parts.new.data": "files"}]},
        {"defaults": [{"/model@compression.distill.teacher": "tiny"}]},
        {"defaults": [{"override /compression": ["qat", "int8-dynamic"]}]},
        {"defaults": [{"override /hydra/launcher": "joblib"}]},
        {"defaults": ["/recipe/tiny", "compression/sentiment-qat", {"override /tuning": "qlora"}]},
        {"defaults": [{"override /tuning": "adalora"}], "tuning": {"target_rank": 4}},
        {"environment": {"max_replicas": 3, "require_api_key": True, "gates": {"exact_match": {"min": 0.5}}}},
    ],
    ids=str,
)
def test_schema_accepts_a_valid_recipe(schema, recipe):
    jsonschema.Draft202012Validator(schema).validate(recipe)


def test_every_recipe_is_accepted(schema):
    validator = jsonschema.Draft202012Validator(schema)
    files = sorted((SHARE / "recipes").rglob("*.yaml"))
    contents = {file.name: OmegaConf.to_container(OmegaConf.load(file)) for file in files}  # 1e-3 is a number
    assert [name for name, content in contents.items() if not validator.is_valid(content)] == []
    assert len(files) > 20


@pytest.mark.parametrize(
    ("entries", "valid"),
    [
        ([{"/experiment": "a"}], True),
        ([{"/experiment": ["a"]}], True),
        ([{"override /experiment": "a"}], True),
        ([{"optional /experiment": "later"}], True),
        ([{"/experiment": "${recipe}"}], True),
        ([{"/experiment@foo": "a"}], True),
        ([{"/base": "deep/x"}], True),
        ([{"/base/deep": "x"}], True),
        (["/base/deep/x"], True),
        (["/experiment/a"], True),
        (["experiment/team"], True),  # a recipe
        (["experiment/a"], False),
        (["/experiment/b"], False),
        ([{"/experiment": "b"}], False),
        ([{"/experiment": "a"}, {"/experiment": ["a"]}], False),
        ([{"/experimentx": "a"}], False),
    ],
    ids=str,
)
def test_group_of_the_working_folder_can_be_chosen(entries, valid, own_groups):
    assert own_groups.is_valid({"defaults": entries}) == valid


@pytest.fixture(scope="module")
def own_groups(tmp_path_factory) -> jsonschema.Draft202012Validator:
    folder = tmp_path_factory.mktemp("team")
    for name in ("conf/experiment/a", "conf/experiment/team", "conf/base/deep/x", "recipes/experiment/team"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text("# @package _global_\nseed: 5\n")
    return jsonschema.Draft202012Validator(json.loads(schema_text((folder, SHARE))))


def test_every_key_has_a_description(schema):
    assert set(schema["properties"]) == {"defaults", "hydra", "recipes", *Config.model_fields}
    for name, definition in schema["$defs"].items():
        for key, field in definition.get("properties", {}).items():
            assert key == "_target_" or field.get("description"), f"{name}.{key} has no docstring"
    assert [group for group in GROUPS if "Options: " not in schema["properties"][group]["description"]] == []


def test_working_folder_option_can_be_chosen(team, tmp_path):
    team("conf/tuning/narrow.yaml", "defaults: [lora]\nrank: 2\n")
    schema = json.loads(schema_text((tmp_path, SHARE)))
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"defaults": [{"override /tuning": "narrow"}], "tuning": {"rank": 1}})
    assert not validator.is_valid({"defaults": [{"override /tuning": "narow"}]})
    assert not jsonschema.Draft202012Validator(schema).is_valid({"tuning": {"rnak": 1}})


def test_plugin_is_not_imported_and_keeps_its_keys(team, tmp_path):
    team("conf/tuning/mine.yaml", "_target_: not_there.mine.Mine\n")
    schema = json.loads(schema_text((tmp_path, SHARE)))
    jsonschema.Draft202012Validator(schema).validate({"tuning": {"strength": 1}})


@pytest.mark.parametrize("text", ["a: [\n", "_target_: framework.build.tuning.nope.X\n"])
def test_unreadable_option_is_named(team, tmp_path, text):
    team("conf/tuning/mine.yaml", text)
    with pytest.raises(ConfigError, match=r"^conf/tuning/mine\.yaml: cannot be described: "):
        schema_text((tmp_path, SHARE))
