import pytest
from omegaconf import OmegaConf

from framework.config.load import load
from framework.config.options import options
from framework.config.yaml_source import read_source
from framework.core.errors import ConfigError
from framework.core.paths import SHARE

TUNINGS = ", ".join(sorted(path.stem for path in (SHARE / "conf" / "tuning").glob("*.yaml")))
TINY = "defaults:\n- override /model: tiny\n- override /data: tiny\n- override /tuning: full\n"  # 4 lines


@pytest.fixture
def rejected(compose):
    """The error for words and files that cannot be composed, or are wrong."""

    def call(*words: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            load(compose(*words))
        assert len(caught.value.problems) == len(caught.value.lines)
        return caught.value

    return call


@pytest.mark.parametrize(
    ("word", "key", "advice"),
    [
        ("model=tinny", "model", "did you mean 'tiny'?"),
        ("tuning=zzz", "tuning", f"choose one of {TUNINGS}"),
        ("tuning=[lora,full]", "tuning", "set tuning=lora"),
        ("+recipe=quikstart", "recipe", "did you mean 'quickstart'?"),
        ("+recipe=zzz", "recipe", "choose one of compare-compression, compression/"),
        ("+recipe=", "recipe", "choose one of compare-compression, compression/"),
        ("tuning=null", "tuning", f"choose one of {TUNINGS}"),
        ("tuning=3", "tuning", f"choose one of {TUNINGS}"),
        ("tuning={}", "tuning", f"choose one of {TUNINGS}"),
        ("seed=[", "", "quote a value with special"),
    ],
)
def test_invalid_word_is_rejected(rejected, word, key, advice):
    error = rejected(word)
    (number,) = (
        n for n, line in enumerate(error.lines) if line.startswith(f"command line '{word.strip('+')}': ")
    )
    assert error.problems[number].key == key
    assert error.problems[number].advice.startswith(advice)


@pytest.mark.parametrize("words", [("tuning=lora", "tuning=full"), ("tuning=zzz", "tuning=full")])
def test_group_chosen_twice_is_rejected(rejected, words):
    lines = rejected("+recipe=tiny", *words).lines
    assert [line.partition(":")[0] for line in lines] == sorted(
        [f"command line '{words[1]}'"] + [f"command line '{words[0]}'"] * ("zzz" in words[0]), reverse=True
    )


def test_words_and_files_are_reported_together(team, rejected):
    team("recipes/x.yaml", f"{TINY}- override /export: onx\nname: x\nseed: -1\n")
    lines = rejected("+recipe=x", "deployment=kubernets", "training.epochs=0").lines
    assert [line.partition(": ")[0] for line in lines] == [
        "recipes/x.yaml:5",
        "recipes/x.yaml:7",
        "command line 'deployment=kubernets'",
        "command line 'training.epochs=0'",
    ]


NOT_USABLE = {
    "": 1,
    "# nothing\n": 1,
    "42\n": 1,
    "- a\n- b\n": 1,
    "text\n": 1,
    "null\n": 1,
    "name: [1\nseed: 2\n": 2,
    "name: a\nname: b\n": 2,
    "name: a\nseed: \x01\n": 2,
    "name: a\n---\nname: b\n": 2,
}


@pytest.mark.parametrize(("text", "line"), NOT_USABLE.items())
@pytest.mark.parametrize("name", ["recipes/x.yaml", "conf/tuning/x.yaml"])
def test_file_without_usable_keys_is_named_alone(team, rejected, text, line, name):
    team(name, text)
    words = ["+recipe=x"] if name.startswith("recipes") else ["+recipe=tiny", "tuning=x"]
    (rejection,) = rejected(*words).lines
    assert rejection.startswith(f"{name}:{line}: ")


@pytest.mark.parametrize(
    ("entry", "key", "advice"),
    [
        ("override /export: tranformers", "export", "did you mean 'transformers'?"),
        ("override /export: zzz", "export", "choose one of gguf, onnx"),
        ("override /export: 3", "export", "choose one of gguf, onnx"),
        ("override /export: {a: b}", "export", "choose one of gguf, onnx"),
        ("override /export: [onnx, onnx-genai]", "export", "write '/export: onnx'"),
        ("override /compression: [qat, qat]", "compression", "leave one out"),
        ("override /exprot: onnx", "export", "write 'override /export: onnx'"),
        ("override export: onnx", "export", "write 'override /export: onnx'"),
        ("export: onnx", "export", "write 'override /export: onnx'"),
        ("/export: onnx", "export", "write 'override /export: onnx'"),
        ("overide /export: onnx", "export", "write 'override /export: onnx'"),
        ("override /export onnx", "defaults", "write 'override /export: <option>'"),
        ("/export/onnx", "export", "write 'override /export: onnx'"),
        ("override /experiment: a", "experiment", "write '/experiment: a', above the overrides"),
        ("/experiment: a", "experiment", "write '/experiment: a', above the overrides"),
        ("override /tuning: lora", "tuning", "leave one of the two out"),
        ("based", "recipe", "move overrides to the end"),
        ("nope", "recipe", "choose one of based, "),
        ("bsed", "recipe", "did you mean 'based'?"),
        ("x", "recipe", "leave it out"),
        ("/based", "recipe", "write '/recipe/based'"),
        ("recipe: based", "recipe", "write '- /recipe/based'"),
        ("42", "defaults", "write a recipe's name"),
        ("null", "defaults", "write a recipe's name"),
        ("[a]", "defaults", "write a recipe's name"),
        ("{/export: onnx, /tuning: lora}", "defaults", "write a recipe's name"),
    ],
)
def test_wrong_entry_of_defaults_is_named(team, rejected, entry, key, advice):
    team("conf/experiment/a.yaml", "# @package _global_\nseed: 5\n")
    team("recipes/based.yaml", "name: based\n")
    team("recipes/x.yaml", f"{TINY}- {entry}\nseed: -1\n")
    error = rejected("+recipe=x")
    assert error.problems[0].key == key
    assert error.problems[0].advice.startswith(advice)
    lines = [line.partition(": ")[0] for line in error.lines if not line.startswith("/")]
    assert lines == ["recipes/x.yaml:5"] * (len(lines) - 1) + ["recipes/x.yaml:6"] or entry == "nope"


@pytest.mark.parametrize("text", ["defaults: tiny\n", "defaults:\n", "defaults: {/model: tiny}\n"])
def test_defaults_that_are_no_list_are_named(team, rejected, text):
    team("recipes/x.yaml", f"{text}seed: 1\n")
    assert any(line.startswith("recipes/x.yaml:1: defaults: ") for line in rejected("+recipe=x").lines)


def test_recipes_that_extend_each_other_are_named(team, rejected):
    team("recipes/a.yaml", "defaults:\n- b\nname: a\n")
    team("recipes/b.yaml", "defaults:\n- a\nname: b\n")
    assert any(line.startswith("recipes/a.yaml:2: recipe: ") for line in rejected("+recipe=a").lines)


def test_entries_that_hydra_accepts_are_unchanged(team, config):
    team("conf/experiment/a.yaml", "# @package _global_\nseed: 5\n")
    team("recipes/deep/base.yaml", f"{TINY}name: base\n")
    team("recipes/deep/x.yaml", "defaults:\n- base\n- /experiment: a\n- _self_\n- override /tuning: lora\n")
    x = config("+recipe=deep/x")
    assert (x.name, x.seed, x.tuning.spec()["_target_"]) == ("base", 5, "framework.build.tuning.lora.LoRA")


@pytest.mark.parametrize(
    ("body", "line", "key"),
    [
        ("training: {max_steps: 010}\n", 5, "training.max_steps"),
        ("training:\n  epochs: 1:30\n", 6, "training.epochs"),
        ("training:\n  learning_rate: 1:30.5\n", 6, "training.learning_rate"),
        ("training: {learning_rate: yes}\n", 5, "training.learning_rate"),
        ("training: {max_steps: true}\n", 5, "training.max_steps"),
        ("evaluation: {rows: on}\n", 5, "evaluation.rows"),
        ("gates: {exact_match: {min: off}}\n", 5, "gates.exact_match.min"),
        ("gates: {int4.exact_match: {min: true}}\n", 5, "gates.int4.exact_match.min"),
        ("gates: {exact_match: {min: 60}}\n", 5, "gates.exact_match.min"),
        ("gates: {int4: {agreement: {min: 98}}}\n", 5, "gates.int4.agreement.min"),
        ("gates:\n  tuned.perplexity: {max: 0.5}\n", 6, "gates.tuned.perplexity.max"),
        ("environment: {gates: {tuned.macro_f1: {max: -1}}}\n", 5, "environment.gates.tuned.macro_f1.max"),
        ("name: off\n", 5, "name"),
        ("serving: &s {a: *s}\n", 5, "serving.a"),
        (f"foo: {'[' * 200}{']' * 200}\n", 5, "foo"),
        ("name: '${'\n", 5, "name"),
        ("seed: !!python/name:os.system x\n", 5, "seed"),
        ("1: 2\n", 5, ""),
        ("training: [1]\n", 5, "training"),
        ("gates: [1]\n", 5, "gates"),
        ("training: {micro_batch_size: {}}\n", 5, "training.micro_batch_size"),
        ("seed: ${seed}\n", 5, "seed"),
    ],
)
def test_content_that_yaml_or_hydra_misreads_is_named(team, rejected, body, line, key):
    team("recipes/x.yaml", TINY + body)
    error = rejected("+recipe=x")
    assert {problem.key for problem in error.problems} == {key}
    assert all(text.startswith(f"recipes/x.yaml:{line}: ") for text in error.lines)


def test_boolean_for_a_number_is_rejected_on_the_command_line(rejected):
    assert (
        rejected("+recipe=tiny", "evaluation.rows=true")
        .lines[0]
        .startswith("command line 'evaluation.rows=true': ")
    )


@pytest.mark.parametrize(
    "value", ["3e-3", "'3e-3'", '"1e-4"', "1.e-4", "2e-5", "0.5", ".5", "1_0e-3", "&a 0.1"]
)
def test_number_may_be_written_in_many_ways(team, config, value):
    team(
        "recipes/x.yaml", f"\ufeff{TINY}training: {{learning_rate: {value}}}\nname: x\n".replace("\n", "\r\n")
    )
    assert config("+recipe=x").training.learning_rate == float(value.strip("&a '\""))


def test_keys_below_a_wrong_compression_are_named(team, rejected):
    team(
        "recipes/x.yaml",
        f"{TINY}- override /compression: [qat, int8-dynamic]\ncompression:\n  aqt: {{scheme: int8}}\n",
    )
    (problem,) = rejected("+recipe=x").problems
    assert (problem.key, problem.advice) == ("compression.aqt", "did you mean 'qat'?")


@pytest.mark.parametrize(
    ("words", "gates"),
    [(("gates={}",), []), (("gates={}", "gates.perplexity.max=9"), ["perplexity"]), (("gates={ }",), [])],
)
def test_empty_mapping_empties(config, words, gates):
    assert [*config("+recipe=tiny", *words).gates] == gates


@pytest.mark.parametrize("name", ["conf/tuning/mine.yaml", "recipes/mine.yaml"])
def test_file_that_is_not_utf8_is_named(team, tmp_path, rejected, name):
    team(name, "")
    (tmp_path / name).write_bytes(b"seed: 1\nname: \xff\xfe\n")
    words = ["+recipe=tiny", "tuning=mine"] if name.startswith("conf") else ["+recipe=mine"]
    (problem,) = rejected(*words).lines
    assert problem == f"{name}:2: not UTF-8 text (invalid start byte); save it as UTF-8"


@pytest.mark.parametrize("file", sorted((SHARE / "conf").rglob("*.yaml")), ids=lambda file: file.stem)
def test_files_of_the_framework_have_no_faults(file):
    source = read_source(file)
    assert source.faults == ()
    assert source.content() == OmegaConf.to_container(OmegaConf.load(file), resolve=False)


def test_options_of_the_working_folder_are_listed(team):
    team("conf/tuning/mine.yaml", "")
    team("recipes/deep/mine.yaml", "")
    assert {"mine", "lora"} <= set(options("tuning"))
    assert {"deep/mine", "tiny"} <= set(options("recipe"))
