"""Models from a folder or a file: the written folder is complete, in float32, and equal."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from framework.build.model.causal_lm import CausalLM
from framework.build.model.sequence_classification import SequenceClassification
from framework.core.errors import StepError
from framework.serving.engine.tokenization import prompt_ids

LABELS = ("no", "perhaps", "yes")


def causal(folder: Path) -> CausalLM:
    return CausalLM(name="m", license="x", parameters=1e5, source=f"file://{folder}")


def classifier(folder: Path) -> SequenceClassification:
    return SequenceClassification(
        name="m", license="x", parameters=1e4, source=f"file://{folder}", labels=LABELS
    )


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_llama, tmp_path / "copy")
    return tmp_path / "copy"


def test_folder_is_written_unchanged(tiny_llama: Path, output: Path) -> None:
    option = causal(tiny_llama)
    option.materialize(output, seed=0)
    before, after = option.open(tiny_llama).state_dict(), option.open(output).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "generation_config.json"} <= {
        path.name for path in output.iterdir()
    }
    assert option.origin == f"file://{tiny_llama}"


def test_half_precision_becomes_float32(copy: Path, output: Path) -> None:
    from transformers import AutoModelForCausalLM

    half = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.bfloat16)
    half.save_pretrained(copy)
    causal(copy).materialize(output, seed=0)
    plain = AutoModelForCausalLM.from_pretrained(output)
    assert all(weight.dtype == torch.float32 for weight in plain.parameters())
    assert all(torch.equal(a.float(), b) for a, b in zip(half.parameters(), plain.parameters(), strict=True))
    assert json.loads((output / "config.json").read_text())["dtype"] == "float32"


def test_tokenizers_end_token_ends_generation(copy: Path, output: Path) -> None:
    """A model's generation config often has another end token than the chat template."""
    body = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps({**body, "eos_token_id": 7}))
    causal(copy).materialize(output, seed=0)
    written = json.loads((output / "generation_config.json").read_text())
    assert written["eos_token_id"] == [1, 7]
    assert written["pad_token_id"] == 1


@pytest.mark.parametrize("name", ["chatml", "alpaca", "own.jinja"])
def test_base_model_needs_and_ships_a_chat_template(copy: Path, output: Path, name: str) -> None:
    (copy / "chat_template.jinja").unlink()
    own = "{{ strftime_now('%Y') }}{% for m in messages %}{{ '\\n' + m.content }}{% endfor %}"
    (copy / "own.jinja").write_text(own)
    (problem,) = causal(copy).problems()
    assert problem.key == "model.chat_template"
    with pytest.raises(StepError, match=r"model\.chat_template: .*model\.chat_template=chatml"):
        causal(copy).materialize(output, seed=0)
    chosen = name if "." not in name else str(copy / name)
    about = {"source": f"file://{copy}", "chat_template": chosen}
    option = CausalLM(name="m", license="x", parameters=1e5, **about)
    assert option.problems() == []
    option.materialize(output, seed=0)
    shipped = AutoTokenizer.from_pretrained(output)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    text = shipped.apply_chat_template(turns, tokenize=False)  # as any other server renders it
    assert text == {"own.jinja": "2025\na\nb"}.get(name, text)
    ((ids, labels),) = option.encode(shipped, {"messages": turns})
    assert [label for label in labels if label >= 0][-1] == shipped.eos_token_id
    prompt = prompt_ids(shipped, turns[:1])
    assert ids[: len(prompt)] == prompt


def test_end_of_a_turn_ends_generation(copy: Path, output: Path) -> None:
    """Gemma's ``<end_of_turn>`` is no end of sequence of its tokenizer, nor of its generation config."""
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.eos_token = "<|im_start|>"
    tokenizer.save_pretrained(copy)
    body = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps({**body, "eos_token_id": 7}))
    causal(copy).materialize(output, seed=0)
    assert json.loads((output / "generation_config.json").read_text())["eos_token_id"] == [0, 1, 7]


def test_text_around_answers_is_refused(copy: Path, output: Path) -> None:
    own = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    (copy / "own.jinja").write_text(own)
    about = {"source": f"file://{copy}", "chat_template": str(copy / "own.jinja")}
    with pytest.raises(StepError, match=r"^model\.chat_template: .*model\.chat_template=chatml"):
        CausalLM(name="m", license="x", parameters=1e5, **about).materialize(output, seed=0)


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def unknown_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no-such-kind"}')


def truncate_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


@pytest.mark.parametrize("damage", [break_config, unknown_kind, truncate_weights, no_weights, no_tokenizer])
def test_unreadable_folder_is_one_line(copy: Path, output: Path, damage: object) -> None:
    assert callable(damage)
    damage(copy)
    with pytest.raises(StepError) as caught:
        causal(copy).materialize(output, seed=0)
    assert str(caught.value).startswith(f"model.source: transformers cannot open file://{copy}: ")
    assert "\n" not in str(caught.value)


def test_classifier_gets_a_seeded_head_and_its_labels(tiny_bert: Path, output: Path) -> None:
    from transformers import BertModel

    plain = output.parent / "encoder"
    BertModel.from_pretrained(tiny_bert).save_pretrained(plain)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_bert / name, plain / name)
    heads = []
    for seed in (1, 1, 2):
        option = classifier(plain)
        option.materialize(output, seed)
        model = option.open(output)
        heads.append(model.classifier.weight.clone())
        assert model.config.id2label == dict(enumerate(LABELS))
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    base = BertModel.from_pretrained(plain).state_dict()
    assert all(torch.equal(base[name], model.bert.state_dict()[name]) for name in base)


def test_unreadable_classifier_folder_is_one_line(tmp_path: Path, output: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(StepError, match=r"model\.source: transformers cannot open") as caught:
        classifier(tmp_path / "empty").materialize(output, seed=0)
    assert "\n" not in str(caught.value)
