"""The rules across config groups: which options do not work together, and what fixes each combination.

Pure, like the plan that asks for them. Rules of one option alone are its own; it knows nothing of the others.
"""

from framework.config.schema import Config
from framework.core.problem import Problem
from framework.plan.rules.architecture import architecture_rules
from framework.plan.rules.batches import batch_rules, elastic_rules
from framework.plan.rules.clean import clean_rules
from framework.plan.rules.compression import compression_cautions, compression_rules, plain_weight_rules
from framework.plan.rules.conversations import loss_rules, template_rules
from framework.plan.rules.data import data_rules, label_rules
from framework.plan.rules.deployment import deployment_rules, serving_cautions
from framework.plan.rules.export import export_cautions, export_rules, unmerged_rules
from framework.plan.rules.gates import gate_cautions, gate_rules
from framework.plan.rules.install import engine_rules, missing_packages
from framework.plan.rules.launcher import launcher_rules
from framework.plan.rules.licenses import license_cautions, license_rules
from framework.plan.rules.memory import memory_rules
from framework.plan.rules.parallelism import pipeline_rules, sharding_rules
from framework.plan.rules.phases import in_each_phase, in_each_recovery, in_last_phase, phase_rules
from framework.plan.rules.preferences import preference_rules
from framework.plan.rules.select import select_rules
from framework.plan.rules.sources import source_cautions, source_rules
from framework.plan.rules.training import training_rules, weight_copy_rules
from framework.plan.rules.tuning import tuning_rules


def broken_rules(config: Config) -> list[Problem]:
    """Return every rule across groups that *config* breaks."""
    return [
        *source_rules(config),
        *license_rules(config),
        *in_each_phase(config, data_rules),
        *clean_rules(config),
        *select_rules(config),
        *label_rules(config),
        *in_each_phase(config, preference_rules),
        *template_rules(config),
        *in_each_phase(config, loss_rules),
        *engine_rules(config),
        *dict.fromkeys(in_each_phase(config, export_rules)),  # exports are evaluated on every phase's rows
        *architecture_rules(config, config.model.known_config()),
        *compression_rules(config),
        *in_last_phase(config, plain_weight_rules),
        *phase_rules(config),
        *in_each_phase(config, training_rules),
        *in_each_phase(config, tuning_rules),
        *in_each_phase(config, sharding_rules),
        *config.parallelism.problems(),
        *in_each_phase(config, batch_rules),
        *in_each_phase(config, elastic_rules),
        *in_each_phase(config, weight_copy_rules),
        *in_each_phase(config, pipeline_rules),
        *in_each_recovery(config, _recovery_rules),
        *in_last_phase(config, unmerged_rules),
        *gate_rules(config),
        *in_last_phase(config, deployment_rules),
        *launcher_rules(config),
        *in_each_phase(config, memory_rules),
    ]


def cautions(config: Config) -> list[Problem]:
    """Return everything in *config* that works but may surprise."""
    return [
        *source_cautions(config),
        *license_cautions(config),
        *compression_cautions(config),
        *export_cautions(config),
        *gate_cautions(config),
        *serving_cautions(config),
        *missing_packages(config),
    ]


def _recovery_rules(config: Config) -> list[Problem]:
    """Return what is wrong with the training of a compression."""
    rules = (training_rules, sharding_rules, batch_rules, weight_copy_rules, pipeline_rules, memory_rules)
    return [problem for rule in rules for problem in rule(config)]
