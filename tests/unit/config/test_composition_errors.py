import pytest
from omegaconf import OmegaConf

from framework.config.command_line_choices import Words
from framework.config.options import add_folders, options
from framework.config.read_recipe import read_recipe
from framework.config.yaml_source import read_source
from framework.core.paths import SHARE

TINY = "defaults:\n- override /model: tiny\n- override /data: tiny\n- override /tuning: full\n"  # 4 lines

TUNINGS = ", ".join(sorted(path.stem for path in (SHARE / "conf" / "tuning").glob("*.yaml")))


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


@pytest.mark.parametrize(
    ("word", "key", "advice"),
    [
        ("experiment=none", "experiment", "write '+experiment=none'"),
        ("tuning@phases.a.tuning=lora", "tuning@phases.a.tuning", "write '+tuning@phases.a.tuning=lora'"),
        ("+tuning=lora", "tuning", "write 'tuning=lora'"),
        ("++tuning=lora", "tuning", "write 'tuning=lora'"),
        ("hydra.nosuch=1", "hydra.nosuch", ""),
        ("tuning={zzz: 4}", "tuning.zzz", "remove it, Full has no keys"),
    ],
)
def test_word_that_hydra_refuses_is_named(team, rejected, word, key, advice):
    team("conf/experiment/none.yaml", "# @package _global_\n")
    error = rejected("+recipe=tiny", word)
    assert error.lines[0].startswith(f"command line '{word}': ")
    assert [(problem.key, problem.advice) for problem in error.problems] == [(key, advice)]


@pytest.mark.parametrize(
    ("word", "sweeps", "usable", "faults"),
    [
        ("compression=[bf16,int8-dynamic]", True, True, 0),
        ("compression=[bf16,int8-dynamic],int8-dynamic", True, True, 0),
        ("compression=[bf16,zzz],int8-dynamic", True, "compression=int8-dynamic", 1),
        ("compression=[bf16],[fp16]", False, True, 0),
        ("compression=[bf16],[fp16]", True, True, 0),
        ("compression=[]", False, None, 1),
        ("hydra/launcher=basic", False, True, 0),
        ("+recipe=[tiny,quickstart]", False, True, 0),
        ("+recipe=2024", False, None, 1),
        ("+recipe='2024'", False, True, 0),
        ("+recipe/deep=in", False, True, 0),
        (f"tuning={'ä' * 150}", False, None, 1),
        (f"{'a' * 300}=1", False, None, 1),
    ],
)
def test_only_words_that_can_never_be_used_are_refused(team, word, sweeps, usable, faults):
    team("recipes/2024.yaml", "name: a\n")
    team("recipes/deep/in.yaml", "name: a\n")
    team("conf/hydra/launcher/own.yaml", "")
    words = Words.check([word], sweeps)
    assert words.usable == ([] if usable is None else [word if usable is True else usable])
    assert len(words.faults) + len(words.dropped) == faults


def test_last_choice_of_a_group_wins_and_all_are_checked(config, rejected):
    assert type(config("+recipe=tiny", "tuning=lora", "tuning=full").tuning).__name__ == "Full"
    (line,) = rejected("+recipe=tiny", "tuning=zzz", "tuning=full").lines
    assert line.startswith("command line 'tuning=zzz': ")


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
def test_recipe_without_usable_keys_is_refused(team, text, line):
    (fault,) = read_recipe(team("recipes/x.yaml", text), "x").faults
    assert (fault.line, fault.hides) == (line, "*")


@pytest.fixture
def added_folder(team):
    """Search ``cfg (1)`` for options, as ``--config-dir`` does."""
    team("cfg (1)/README", "")
    add_folders(["--config-dir", "cfg (1)"])
    yield
    add_folders([])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("42\n", "x.yaml:1: "),
        ("defaults: [tiny]\nmax_length: '${'\n", "x.yaml:2: data.max_length: "),
        ("defaults: [base, _self_]\n", "base.yaml:3: data.max_length: "),
    ],
)
@pytest.mark.parametrize("folder", ["conf", "cfg (1)"])
@pytest.mark.usefixtures("added_folder")
def test_every_file_that_an_option_reaches_is_checked(team, rejected, text, place, folder):
    team(f"{folder}/data/base.yaml", "defaults: [tiny]\ncolumns: {}\nmax_length: 0100\n")
    team(f"{folder}/data/x.yaml", text)
    (line,) = rejected("+recipe=tiny", "data=x").lines
    assert line.startswith(f"{folder}/data/{place}")


@pytest.mark.usefixtures("added_folder")
def test_searchpath_may_name_folders_and_packages(team, compose, monkeypatch, tmp_path):
    team("own/one/experiment/a.yaml", "# @package _global_\nseed: 5\n")
    team("own/conf/experiment/b.yaml", "# @package _global_\nname: b\n")
    team("own/__init__.py", "")
    team("own/conf/__init__.py", "")
    monkeypatch.syspath_prepend(tmp_path)
    word = "hydra.searchpath=['own/one',pkg://own.conf]"
    add_folders([word])
    config = compose("+recipe=tiny", "+experiment=[a,b]", word).config
    assert (config["seed"], config["name"]) == (5, "b")


@pytest.mark.parametrize(
    ("body", "line", "key"),
    [
        ("training: {max_steps: 010}\n", 5, "training.max_steps"),
        ("training:\n  epochs: 1:30\n", 6, "training.epochs"),
        ("training:\n  learning_rate: 1:30.5\n", 6, "training.learning_rate"),
        ("training: {learning_rate: yes}\n", 5, "training.learning_rate"),
        ("evaluation: {rows: on}\n", 5, "evaluation.rows"),
        ("gates: {exact_match: {min: off}}\n", 5, "gates.exact_match.min"),
        ("gates: {int4.exact_match: {min: true}}\n", 5, "gates.int4.exact_match.min"),
        ("gates: {exact_match: {min: 60}}\n", 5, "gates.exact_match.min"),
        ("gates: {int4: {agreement: {min: 98}}}\n", 5, "gates.int4.agreement.min"),
        ("gates:\n  tuned.stops: {min: 2}\n", 6, "gates.tuned.stops.min"),
        ("environment: {gates: {tuned.macro_f1: {min: 80}}}\n", 5, "environment.gates.tuned.macro_f1.min"),
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


@pytest.mark.parametrize("value", ["3e-3", "'3e-3'", "1.e-4", ".5", "&a 0.1"])
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


def test_file_that_is_not_utf8_is_named(team, tmp_path, rejected):
    team("conf/tuning/mine.yaml", "")
    (tmp_path / "conf/tuning/mine.yaml").write_bytes(b"seed: 1\nname: \xff\xfe\n")
    (problem,) = rejected("+recipe=tiny", "tuning=mine").lines
    assert problem.startswith("conf/tuning/mine.yaml:2: ")


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
