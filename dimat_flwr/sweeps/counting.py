"""How much there is to do in a whole cell; in a process of the crew, for it imports torch."""

import json

import torch

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import Config, load_config
from dimat_flwr.config.resume import flat
from dimat_flwr.launch import plan_of
from dimat_flwr.peer.caches import own_data
from dimat_flwr.sweeps.job import Job, Size
from dimat_flwr.topology.exchange import is_observation

# What a minibatch, a test sample and a recalibration cost by. How many there are, and the step size, cost nothing.
_WORK = (
    "evaluate.batch_size", "batchnorm.batch_size", "optimizer._target_", "training.batch_size", "training.precision",
    "training.channels_last", "training.compile", "training.device", "training.threads",
)  # fmt: skip
_WORK_BELOW = ("correction.", "dataset.", "model.", "privacy.")


def size(job: Job) -> Size:
    """Return how much there is to do in a cell.

    Raises:
        ConfigError: the configuration has faults.
        DataError: the data are missing.
    """
    config = load_config(job.run_config, {}, find_conf_dir())
    training, plan, policy = config.training, plan_of(config, job.peers, config.rounds), config.batchnorm
    epochs = _minibatches(config, job.peers)
    steps = job.peers * training.local_steps if training.local_steps is not None else training.local_epochs * epochs
    acts = [plan[number] for number in range(len(plan)) if not is_observation(plan.name_of(number))]
    edges = [planned.mixing.edge_count for planned in acts]
    between = max(0, config.rounds - 1)  # the last round ends with its merge
    work = {key: value for key, value in flat(config.text).items() if key in _WORK or key.startswith(_WORK_BELOW)}
    return Size(
        work=json.dumps(work, sort_keys=True),
        alone=training.pretrain_epochs * epochs,
        steps=between * steps,
        evaluated=job.peers * (between // config.evaluate.every),
        tests=len(config.dataset.load().test_labels),
        recalibrated=policy.samples if policy.policy == "recalibrate" else 0,
        mixed=sum(count + job.peers for count in edges if count),
        sent=sum(edges),
        rounds=config.rounds,
        peers=job.peers,
        messages=len(acts) * job.peers,
    )


def _minibatches(config: Config, peers: int) -> int:
    """Return the minibatches of an epoch of all peers."""
    what = (config.dataset, config.partition, peers, config.seeds.data)
    own = (own_data(*what, peer, torch.device("cpu")) for peer in range(peers))
    return sum(data.batches_per_epoch(config.training.batch_size) for data in own)
