"""Fixtures for all tests: tiny models with random weights, built once per session, and the command line."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from model_graphs import export_to_genai
from tiny_encoders import write_bert, write_embedding

if TYPE_CHECKING:
    from framework.build.model import Model

# Set before torch is imported: two processes with two threads each on two cores slow each other down.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Hundreds of processes start; without bytecode each of them would compile the framework anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

COMMAND = (
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'run'; from framework.cli.main import main; main()",
)
ROOT = Path(__file__).parent.parent

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


# Programs that tests run in environments of their own, with packages that this one lacks.
collect_ignore = ["data/schemathesis_hooks.py", "other_clients.py"]


def pytest_collection_finish() -> None:
    """Keep the garbage collector from the objects of modules and tests: half a second for each step built."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker of ``-n 2`` one half, so that a module's fixtures are seldom made twice."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder: two Llama layers, a byte-level BPE tokenizer with a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-llama")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    bpe.train_from_iterator(["hello world, the quick brown fox"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=special[0], eos_token=special[1])
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,  # larger than the default, so that no greedy choice is a near tie
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_genai(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama in onnxruntime-genai's format, float32."""
    return export_to_genai(tiny_llama, tmp_path_factory.mktemp("tiny-genai"), "fp32")


@pytest.fixture(scope="session")
def export_genai() -> Callable[[Path, Path, str], Path]:
    """Export a Hugging Face folder to onnxruntime-genai's format: ``export_genai(model, output, "fp32")``."""
    return export_to_genai


@pytest.fixture(scope="session")
def tiny_openvino(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama in OpenVINO's format, float32."""
    from framework.build.export.openvino import OpenVino

    folder = tmp_path_factory.mktemp("tiny-openvino")
    OpenVino().write(tiny_llama, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A three-class BERT as a Hugging Face folder that also has the model as model.onnx."""
    return write_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def tiny_embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-embedding BERT: a Hugging Face folder that also has the exported model.onnx.

    It opens with the engines torch and onnxruntime.
    """
    return write_embedding(tmp_path_factory.mktemp("tiny-embedding"))


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables of child processes: this checkout, one thread, a separate cache."""
    cache = str(tmp_path_factory.mktemp("cache"))
    return {**os.environ, "PYTHONPATH": str(ROOT), "GITUNE_CACHE": cache, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def run(environ: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the console command in a folder: ``run(folder, "+recipe=tiny")``."""

    def call(folder: Path, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], cwd=folder, env=environ, text=True, capture_output=True, timeout=timeout
        )

    return call


@pytest.fixture
def start(environ: dict[str, str]) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the console command without waiting; standard output and error share one pipe."""
    started: list[subprocess.Popen[str]] = []

    def begin(folder: Path, *words: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*COMMAND, *words],
            cwd=folder,
            env=environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:  # a failed test may have left it
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def built_tiny(tmp_path_factory: pytest.TempPathFactory, run: Callable[..., Any]) -> Path:
    """A working folder after one uninterrupted ``run +recipe=tiny``; copy it before you change it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, built = shared / "built-tiny", shared / "built-tiny.done"
    with FileLock(shared / "built-tiny.lock"):  # the workers of pytest-xdist build it once
        if not built.exists():
            folder.mkdir(exist_ok=True)
            done = run(folder, "+recipe=tiny")
            assert done.returncode == 0, done.stdout + done.stderr
            built.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_model() -> "Model":
    """The model option of the recipe ``tiny``."""
    from framework.build.model.tiny import TinyCausalLM

    return TinyCausalLM(name="tiny", license="Apache-2.0", parameters=1e5)


@pytest.fixture(scope="session")
def tiny_base(tiny_model: "Model", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the step ``model`` of the recipe ``tiny``: random weights of seed 0."""
    folder = tmp_path_factory.mktemp("tiny-base")
    tiny_model.materialize(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def prepare_rows(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run ``read`` and ``encode`` on a data option; return *output*, the folder of ``encode``."""
    from framework.build.stages.encode import EncodeRows
    from framework.build.stages.read import ReadRows
    from framework.core.step import Workspace

    def prepare(data: Any, model: "Model", base: Path, output: Path) -> Path:
        rows = tmp_path_factory.mktemp("read")
        output.mkdir(exist_ok=True)
        ReadRows.of(data).run({}, rows, Workspace(rows))
        EncodeRows.of(data, model).run({"rows": rows, "model": base}, output, Workspace(output))
        return output

    return prepare


@pytest.fixture(scope="session")
def render_with() -> Callable[..., dict[str, str]]:
    """Render ``tests/golden/tiny.lock`` with options of any group.

    Each option is a name, a pair of a name and its overrides, or the option itself. *release* updates
    fields of the lock.
    """
    return _rendered


_DEFAULTS = {
    "deployment": "kubernetes",
    "serving": "http",
    "environment": "production",
    "rollout": "rolling",
    "autoscaling": "hpa",
    "traffic": "none",
    "monitoring": "none",
    "secrets": "none",
}


def _rendered(release: dict[str, Any] | None = None, **groups: Any) -> dict[str, str]:
    import yaml

    from framework.config.schema import BASES
    from framework.core.release import Release
    from framework.delivery.deployment import Delivery
    from framework.render import render

    options: dict[str, Any] = {}
    for group, choice in {**_DEFAULTS, **groups}.items():
        option, overrides = choice if isinstance(choice, tuple) else (choice, {})
        if isinstance(option, str):
            data = yaml.safe_load((ROOT / "conf" / group / f"{option}.yaml").read_text())
            data.pop("defaults", None)  # the groups are chosen here
            option = BASES[group].model_validate({**data, **overrides})
        options[group] = option
    lock = Release.read(ROOT / "tests" / "golden" / "tiny.lock").model_copy(update=release or {})
    return render(lock, options.pop("deployment"), Delivery(**options))


@pytest.fixture(scope="session")
def measured() -> Any:
    """A monitoring option whose cluster has a Prometheus; it renders no objects."""
    from framework.delivery.monitoring import Monitoring

    class Measured(Monitoring):
        @property
        def query_url(self) -> str:
            return "http://prometheus.monitoring.svc:9090"

        def objects(self, workload: Any, environment: Any) -> list[Any]:
            return []

    return Measured()
