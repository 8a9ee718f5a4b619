"""What overrides set is what Hydra makes of choices and values together."""

import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from dimat_flwr.config import GROUPS, ConfigError, load_config
from dimat_flwr.config.compose import compose_config

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize(
    "overrides",
    [
        "name=x optimizer.lr=0.5 rounds=3 relay.peers=4 optimizer.lr=0.25",
        "name=x algorithm.matching.samples=7 'evaluate.batch_size=${training.batch_size}' training={batch_size:8}",
        "name=x ++optimizer.lr=1e-2 ++evaluate.own=4 +evaluate.more=[1,{a:b}] ~security.sign ~relay.join=start",
        "name=x \"output_dir='~/a b'\" data_dir=/oc seeds.graph=null topology=torus",
        "name=x dataset._target_=tests.data.tokens.Tokens +dataset.length=9 +relay={more:{length:3}}",
    ],
)
def test_values_are_set_as_hydra_sets_them(overrides: str) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        composed = compose(config_name="config", overrides=shlex.split(overrides))
    hydras = OmegaConf.to_container(composed, resolve=True)
    assert compose_config({"overrides": overrides}, {}, CONF, GROUPS).values == hydras


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("+optimizer.lr=1", "override '+optimizer.lr=1' adds what is there already; leave the + out or put another"),
        ("~optimizer.lr=7", "override '~optimizer.lr=7' takes away 7, but the value is 0.001"),
        ("~evaluate.every ~evaluate.every", "override '~evaluate.every' takes away what is not there"),
        ("+nothing@here=1", "override '+nothing@here=1' places a choice, but 'nothing' is not a group"),
        ("optimizer.lr.x=1", "optimizer.lr is a single value"),
        ("training={batch_siz:8}", "override 'training={batch_siz:8}'"),
        ("+hydra.run.dir=x", "hydra: Unexpected keyword argument"),
        (
            "+topology=chain",
            "override '+topology=chain' makes a choice beside the one that a run has; write 'topology=",
        ),
        ("++topology=chain", "write 'topology=chain'"),
        ("topology@x=chain", "write 'topology=chain'"),
        ("topology@=chain", "write 'topology=chain'"),
        ("experiment@_global_=quick", "write 'experiment=quick'"),
    ],
)
def test_what_hydra_refuses_is_refused(overrides: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"overrides": overrides}, {}, CONF)
    assert expected in str(caught.value)
