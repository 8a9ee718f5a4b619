"""Building the run's network from its ``_target_``, and trying it out on an example of the data set."""

from collections.abc import Mapping
from typing import Any

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from torch import nn

from dimat_flwr.config.errors import ConfigError
from dimat_flwr.config.parts import Config
from dimat_flwr.merging import running_statistics


def build_network(settings: Mapping[str, Any]) -> nn.Module:
    """Return a new network from its ``_target_`` and arguments, its weights drawn from torch's global generator.

    Raises:
        ConfigError: the target cannot be called so, or makes something else than a network.
    """
    target = settings.get("_target_")
    try:
        network = instantiate(dict(settings))
    # A target is anybody's code: also one that would end the process is a fault of the configuration.
    except (Exception, SystemExit) as error:
        cause = error.__cause__ if isinstance(error, HydraException) and error.__cause__ else error
        raise ConfigError([f"model._target_ '{target}' cannot be built: {_first_line(cause)}"]) from error
    if not isinstance(network, nn.Module):
        raise ConfigError([f"model._target_ '{target}' makes a {type(network).__name__}, no nn.Module"])
    return network


def check_network(config: Config, network: nn.Module, device: torch.device) -> None:
    """Check that a network works with the run's data set and algorithm.

    Args:
        config: the run's configuration.
        network: its network, on ``device``; it is left as it was.
        device: where it is.

    Raises:
        ConfigError: with all faults.
    """
    try_out(config, network, device)
    problems = []
    if config.batchnorm.frozen and not running_statistics(network):
        problems.append(
            f"batchnorm.frozen: model '{config.choices['model']}' has no BatchNorm with running statistics to train on"
        )
    problems += [f"algorithm: {fault}" for fault in config.algorithm.faults(network)]
    problems += [f"final_merge: {fault}" for fault in config.final_merge.faults(network)]
    if problems:
        raise ConfigError(problems)


def try_out(config: Config, network: nn.Module, device: torch.device) -> None:
    """Run a network on two made-up inputs of the data set.

    It is run for real: on torch's meta device the check would need no memory, but load torch's whole compiler, which
    takes longer than the run of any network that a peer could train.

    Args:
        config: the run's configuration.
        network: its network, on ``device``; it is left as it was.
        device: where it is.

    Raises:
        ConfigError: it does not work, or what comes out are no scores.
    """
    chosen, dataset = config.choices, config.dataset
    example = dataset.example_input(2).to(device)
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        with torch.no_grad():
            scores = network.eval()(example)
        dataset.task.check_scores(getattr(scores, "shape", ()), 2)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            [
                f"model '{chosen['model']}' ({config.model.get('_target_')}) does not work with dataset "
                f"'{chosen['dataset']}' (inputs {tuple(example.shape[1:])} of {example.dtype}): {_first_line(error)}"
            ]
        ) from error
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
