"""A run's configuration: Flower's run-config and ``conf/`` become one typed object, or one error with all faults."""

from dimat_flwr.config.compose import GROUPS, NODE_KEYS
from dimat_flwr.config.errors import ConfigError
from dimat_flwr.config.load import Config, build_model, load_config
from dimat_flwr.config.settings import BatchNormSettings, EvaluateSettings, TrainingSettings

__all__ = [
    "GROUPS",
    "NODE_KEYS",
    "BatchNormSettings",
    "Config",
    "ConfigError",
    "EvaluateSettings",
    "TrainingSettings",
    "build_model",
    "load_config",
]
