"""A run's configuration: Flower's run-config and ``conf/`` become one typed object, or one error with all faults."""

from dimat_flwr.config.compose import NODE_KEYS
from dimat_flwr.config.errors import ConfigError
from dimat_flwr.config.load import load_config
from dimat_flwr.config.network import build_network, check_network, try_out
from dimat_flwr.config.parts import GROUPS, Config
from dimat_flwr.config.settings import BatchNormSettings, EvaluateSettings, PrivacySettings, TrainingSettings

__all__ = [
    "GROUPS",
    "NODE_KEYS",
    "BatchNormSettings",
    "Config",
    "ConfigError",
    "EvaluateSettings",
    "PrivacySettings",
    "TrainingSettings",
    "build_network",
    "check_network",
    "load_config",
    "try_out",
]
