from framework.report.settings import settings


def test_only_what_is_not_default_is_named(config):
    found = settings(config("+recipe=tiny", "tuning=lora", "tuning.rank=4", "tuning.alpha=8"))
    assert "rank 4" in found["tuning"]
    assert found["tuning"].startswith("LoRA: ")
    assert "dropout" not in found["tuning"]
    assert "learning_rate 0.003" in found["training"]
    assert found["compression"] == "Int4Weight"
    assert "serving" not in found


def test_each_phase_and_each_compression_is_named(config):
    found = settings(config("+recipe=finance-three-phase"))
    assert {"general: data", "domain: tuning", "task: training"} <= found.keys()
    assert "tuning" not in found
