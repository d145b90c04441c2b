"""Which options a plan accepts for text embedding."""

import pytest

EMBEDDING = ("+recipe=search", "~gates")
CASES = [
    (("training=supervised",), "training", ("training=contrastive",)),
    (("training=dpo",), "training", ("training=contrastive",)),
    (("training.micro_batch_size=1",), "training.micro_batch_size", ("training.micro_batch_size=2",)),
    (("tuning=prompt", "export=transformers", "compression=none"), "tuning", ("tuning=lora",)),
    (("compression=[prune-structured,int8-dynamic]",), "compression.prune-structured", None),
    (("compression=[qat,int8-dynamic]",), "compression.qat", None),
    (("compression=[distill,int8-dynamic]",), "compression.distill", None),
    (("export=onnx-genai", "compression=none"), "export", ("export=onnx",)),
]


@pytest.mark.parametrize(("words", "key", "overrides"), CASES)
def test_rule_names_its_key_and_overrides_that_plan(words, key, overrides, fixes) -> None:
    (problem,) = fixes(*EMBEDDING, *words)
    assert problem.key == key
    assert problem.overrides == (overrides or ("compression=int8-dynamic",))


@pytest.mark.parametrize(
    "words",
    [
        ("tuning=lora",),
        ("export=openvino", "compression=int8-weight"),
        ("export=transformers", "compression=none"),
        ("compression=fp16",),
        ("compression=int8-mixed",),
    ],
)
def test_other_combinations_plan(words, problems) -> None:
    assert not problems(*EMBEDDING, *words)


def test_contrastive_training_is_for_embeddings_only(fixes) -> None:
    (problem,) = fixes("+recipe=sentiment", "training=contrastive")
    assert (problem.key, problem.overrides) == ("training", ("training=supervised",))
