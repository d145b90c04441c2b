"""Time and memory of training, predicted from a few formulas.

Memory of one process is ``framework.build.training.memory_estimate``'s; this adds libraries and layout.
"""

from framework.build.parallelism import Parallelism
from framework.build.training import Training
from framework.build.training.memory_estimate import trained_bytes, tune_bytes, weight_bytes
from framework.build.tuning import Tuning
from framework.core.workload import LIBRARIES, Workload


def training_memory(
    training: Training,
    tuning: Tuning,
    layout: Parallelism,
    *,
    parameters: float,
    length: float,
    generates: bool,
    on_cpu: bool,
) -> float:
    """Return the bytes at the peak: on a GPU of one process, on the CPU of all that share a machine.

    On the CPU each process opens the whole model before it keeps its share.

    Args:
        training: how the model is trained.
        tuning: what is trained.
        layout: the processes.
        parameters: weights of the model.
        length: mean tokens of a row.
        generates: whether logits are over the vocabulary.
        on_cpu: whether the CPU trains.
    """
    tokens = training.least_micro_batch_size * length
    total = tune_bytes(training, tuning, parameters, tokens, generates=generates, on_cpu=on_cpu)
    weights = weight_bytes(training, tuning, parameters, on_cpu=on_cpu)
    trained = trained_bytes(training) * tuning.trainable(parameters)
    kept = max(weights * layout.weight_share, 4 * parameters if on_cpu else 0.0)
    process = LIBRARIES + total - (weights - kept) - trained * (1 - layout.optimizer_share)
    process += 4 * parameters if training.taught else 0.0  # a teacher, assumed to be as large as the model
    return process * (layout.processes // layout.nodes) if on_cpu else process


def training_seconds(
    training: Training, tuning: Tuning, layout: Parallelism, workload: Workload, rows: float, length: float
) -> float:
    """Return six operations a weight and token where all is trained, four where the base is frozen.

    Forward 2N, gradient of the activations 2N, gradient of the weights 2N (Kaplan et al., 2020,
    arXiv:2001.08361, appendix B); a frozen weight needs no gradient of its own.

    Args:
        training: how the model is trained.
        tuning: what is trained.
        layout: the processes.
        workload: the model's size and the device's speed.
        rows: training rows.
        length: mean tokens of a row.
    """
    parameters = workload.parameters
    steps = training.steps(int(rows), layout.data_parallel)
    tokens = steps * training.rows_a_step(layout.data_parallel) * length
    share = tuning.trainable(parameters) / parameters
    operations = (4 + 2 * share) * parameters * tokens
    validation = training.validation
    validated = (steps // validation.every_steps + 1) * validation.count(int(rows)) * length
    operations += 2 * parameters * validated
    slower = 2.0 if training.precision == "fp32" else 1.0
    if training.gradient_checkpointing:
        operations += 2 * parameters * tokens  # one more forward pass
    if training.taught:
        operations += 2 * parameters * tokens  # the teacher's forward pass
    # Processes on CPUs share those of their machine; GPUs bring their own.
    devices = layout.processes if workload.device == "cuda" else layout.nodes
    return 5 + slower * operations / (workload.flops * devices)
