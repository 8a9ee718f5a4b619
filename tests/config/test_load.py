"""The configuration: what is right becomes typed, what is wrong is refused with what is allowed."""

import random
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from flwr.common.config import parse_config_args

from dimat_flwr.algorithms.registry import available_algorithms
from dimat_flwr.config import GROUPS, Config, ConfigError, build_network, load_config
from dimat_flwr.config.command import flwr_command

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"


def load(**run_config: Any) -> Config:
    return load_config(run_config, {}, CONF)


def fault(**run_config: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(**run_config)
    return str(caught.value)


def test_the_defaults_of_pyproject_and_of_conf_agree() -> None:
    defaults = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert load_config(defaults, {}, CONF).text == load().text


# Of these one choice goes with any of another group.
FREE = ("topology", "partition", "schedule", "codec", "lr_schedule", "optimizer", "instruments", "aggregation")


@pytest.mark.slow
@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ("dataset", *FREE)])
def test_every_choice_of_every_group_loads(group: str) -> None:
    for choice in choices(group):
        others = {}
        if group == "model":
            others["dataset"] = {"mlp": "breast_cancer", "digits_cnn": "digits"}.get(choice, "cifar10")
        assert load(**{group: choice}, **others).choices[group] == choice


@pytest.mark.parametrize("number", range(max(len(list((CONF / group).glob("*.yaml"))) for group in FREE)))
def test_every_choice_of_groups_that_go_together_loads(number: int) -> None:
    asked = {group: choices(group)[number % len(choices(group))] for group in FREE}
    assert load(**asked, algorithm="weight_averaging").choices.items() >= asked.items()


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def test_an_algorithm_may_choose_defaults_that_a_person_overrides() -> None:
    assert load(algorithm="sgp").choices["optimizer"] == "sgd"
    # What Flower sends for keys that nobody has set leaves them as they are.
    unset = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert load_config({**unset, "algorithm": "sgp"}, {}, CONF).text == load(algorithm="sgp").text
    assert load(algorithm="sgp", optimizer="adam").choices["optimizer"] == "adam"
    assert load(algorithm="sgp", overrides="optimizer=adam").choices["optimizer"] == "adam"
    assert load().choices["optimizer"] == "adam"


def test_an_experiment_sets_anything_and_is_overridden_by_keys(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /topology: torus\nrounds: 3\ntraining:\n  local_steps: 1\n"
    )
    config = load_config({"experiment": "mine", "seed": ""}, {}, conf)
    assert (config.choices["topology"], config.rounds, config.training.local_steps) == ("torus", 3, 1)
    assert config.choices["experiment"] == "mine"
    config = load_config({"experiment": "mine", "topology": "ring", "rounds": 5}, {}, conf)
    assert (config.choices["topology"], config.rounds) == ("ring", 5)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("experiment/mine.yaml", b"rounds: 3\n", "conf/experiment/<name>.yaml is '# @package _global_'"),
        ("experiment/mine.yaml", b"# @package _global_\nroundz: 3\n", "roundz: Unexpected keyword"),
        ("experiment/mine.yaml", b"# @package _global_\nrounds: 3\nrounds: 4\n", "duplicate key rounds"),
        ("experiment/mine.yaml", b"# @package _global_\nrounds: [\n", "mine.yaml"),
        ("experiment/mine.yaml", b"# @package _global_\nname: \xff\n", "can't decode byte 0xff"),
        ("experiment/mine.yaml", b"# @package _global_\ndefaults: [override /topology: null]\n", "chosen for topology"),
        ("experiment/mine.yaml", b"# @package\nrounds: 3\n", "cannot be read: Expected header format"),
        (
            "experiment/mine.yaml",
            b"# @package _global_\nmodel: {x: !!python/object/apply:pathlib.PosixPath [/x]}\n",
            "PosixPath('/x') is a PosixPath; a yaml of conf/ may hold",
        ),
        ("config.yaml", b"defaults: 3\n", "cannot be read: Invalid defaults list"),
        ("config.yaml", b"defaults:\n  - _self_\n  - topology: ring\nname: ''\n", "nothing is chosen for algorithm"),
    ],
)
def test_a_yaml_that_cannot_be_read_or_is_not_read_is_named(
    file: str, text: bytes, expected: str, tmp_path: Path
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / file).write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        load_config({"experiment": "mine"} if "mine" in file else {}, {}, conf)
    assert expected in str(caught.value)


def test_overrides_reach_the_parts_and_win_over_keys() -> None:
    config = load(rounds=3, overrides="optimizer.lr=0.5 rounds=20 algorithm.matching.samples=64 topology=chain")
    assert config.optimizer.lr == 0.5  # type: ignore[attr-defined]
    assert config.rounds == 20
    assert config.algorithm.matching.samples == 64  # type: ignore[attr-defined]
    assert config.choices["topology"] == "chain"


def test_two_choices_that_do_not_go_together_are_named_with_what_is_missing() -> None:
    told = fault(dataset="breast_cancer")  # the model stays the default one, which is for images
    assert "model 'digits_cnn' and dataset 'breast_cancer' do not go together: the first needs dataset.channels" in told
    assert "choose another model or dataset" in told


@pytest.mark.parametrize("group", GROUPS)
def test_an_unknown_choice_lists_what_is_allowed(group: str) -> None:
    text = fault(**{group: "nonsense"})
    assert f"unknown {group} 'nonsense'" in text
    for path in (CONF / group).glob("*.yaml"):
        assert path.stem in text


@pytest.mark.parametrize(
    ("run_config", "expected"),
    [
        ({"algoritm": "dimat"}, "unknown run-config key 'algoritm' (did you mean 'algorithm'?)"),
        ({"overrides": "optimizer.lrr=1"}, "unknown key 'optimizer.lrr' (did you mean 'lr'?); keys of optimizer:"),
        ({"overrides": "trainin.device=cpu"}, "unknown key 'trainin.device' (did you mean 'training'?)"),
        ({"overrides": "+optimizer.bogus=1"}, "optimizer.bogus: Unexpected keyword argument"),
        ({"overrides": "optimizer.lr=fast"}, "optimizer.lr: Input should be a valid number"),
        ({"overrides": "optimizer.lr=-1"}, "optimizer.lr: Input should be greater than"),
        ({"overrides": "batchnorm.frozen=true"}, "batchnorm: frozen is true and policy is 'recalibrate', which"),
        (
            {"overrides": "batchnorm.frozen=true batchnorm.policy=keep training.pretrain_epochs=0"},
            "the running statistics that peers would train on were never measured; set training.pretrain_epochs",
        ),
        (
            {"overrides": "training.device=gpu"},
            "training.device: Input should be auto, cpu, cuda or cuda:N (got 'gpu')",
        ),
        ({"overrides": "seed.x=1"}, "seed is a single value"),
        ({"overrides": "what is this"}, "override 'what' is not of the form key=value"),
        ({"overrides": "seed=1,2"}, "names several values; a run takes one"),
        ({"overrides": "algorithm.matching.statistic=cosine"}, "algorithm.matching.statistic: Input should be 'correl"),
        ({"overrides": "algorithm.matching.early_stop=0.2"}, "500 samples in batches of 250 are no more than two; set"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"data-dir": "/a\udcff"}, r"'/a\udcff' holds bytes that are no text in UTF-8"),
        ({"name": "a/b"}, "name: Input should be letters, digits, dots, - and _"),
        ({"rounds": "many"}, "rounds: Input should be a valid integer"),
        ({"schedule": "every_n", "rounds": 3, "overrides": "schedule.n=5"}, "schedule: "),
        ({"overrides": "relay.give_up_timeout=1"}, "relay: give_up_timeout (1 s) must be at least"),
        ({"overrides": "algorithm._target_=torch.nn.Linear"}, "is not a subclass of"),
        ({"overrides": "algorithm._target_=sys.exit"}, "algorithm._target_ 'sys.exit' is not a subclass of"),
        ({"overrides": "~topology"}, "override '~topology' takes away what every run needs"),
        ({"overrides": "~name"}, "override '~name' takes away what every run needs"),
        ({"overrides": "~training"}, "override '~training' takes away what every run needs"),
        ({"overrides": "name='${foo:1}'"}, "foo"),
        ({"overrides": "name='${nowhere}'"}, "nowhere"),
        ({"overrides": "seed='${rounds'"}, "rounds"),
        ({"overrides": "topology=3"}, "override 'topology=3' does not name one of the choices of 'topology'"),
        ({"overrides": "topology=[ring]"}, "does not name one of the choices of 'topology'"),
        ({"overrides": "topology=null"}, "does not name one of the choices of 'topology'"),
        ({"overrides": "experiment=table2"}, "unknown experiment 'table2'"),
        ({"overrides": "training=3"}, "training"),
        ({"overrides": "+extra=1"}, "extra: Unexpected keyword argument"),
        ({"overrides": "+experiment.rounds=3"}, "experiment: nobody reads what is set there (rounds)"),
        ({"rounds": True}, "rounds: Input should be a number (got True)"),
        ({"overrides": "optimizer.lr=true"}, "optimizer.lr: Input should be a number (got True)"),
        ({"overrides": "training.local_steps=false"}, "training.local_steps: "),
        ({"overrides": "algorithm.matching.stickiness=true"}, "algorithm.matching.stickiness: Input should"),
        ({"overrides": "optimizer.eps=inf"}, "optimizer.eps: Input should be a finite number"),
        (
            {"dataset": "folder", "data-dir": "/x/{peer}"},
            "its share of them; choose partition: own, or a data-dir without",
        ),
    ],
)
def test_a_fault_is_named_with_what_is_allowed(run_config: dict[str, Any], expected: str) -> None:
    assert expected in load_fault(run_config)


def load_fault(run_config: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(run_config, {}, CONF)
    return str(caught.value)


def test_all_faults_come_in_one_message() -> None:
    unknown_key = "optimizer.lrr=1 algorithm.matching.samples=3"
    text = load_fault({"algorithm": "dimatt", "topology": "rings", "nam": "x", "overrides": unknown_key})
    assert "4 faults" in text
    assert "unknown key 'optimizer.lrr'" in text
    assert "did you mean 'dimat'" in text
    assert "did you mean 'ring'" in text
    text = load_fault({"seed": -1, "overrides": "training.batch_size=0 evaluate.every=0"})
    assert "3 faults" in text


def test_a_device_may_set_what_is_its_own_and_wins() -> None:
    run_config = {"output-dir": "/run", "overrides": "training.device=cuda"}
    config = load_config(run_config, {"device": "cpu", "output-dir": "/disk two/o'clock", "partition-id": 3}, CONF)
    assert config.training.device == "cpu"
    assert config.output_dir == "/disk two/o'clock"


def test_a_file_of_conf_that_has_changed_is_read_again(tmp_path: Path) -> None:
    conf = Path(shutil.copytree(CONF, tmp_path / "conf"))
    before = load_config({}, {}, conf)
    path = conf / "optimizer" / f"{before.choices['optimizer']}.yaml"
    path.write_text(path.read_text().replace("lr: 0.001", "lr: 0.002"))
    assert (before.optimizer.lr, load_config({}, {}, conf).optimizer.lr) == (0.001, 0.002)  # type: ignore[attr-defined]


def test_what_one_run_or_device_sets_does_not_reach_the_next() -> None:
    untouched = load().text
    set_by_all = load_config({"rounds": 3, "seed": 4, "data-dir": "/x"}, {"device": "cpu", "threads": 2}, CONF)
    assert (set_by_all.rounds, set_by_all.seed, set_by_all.training.threads) == (3, 4, 2)
    assert load().text == untouched


def test_any_importable_network_is_a_model() -> None:
    target = "model._target_=torchvision.models.mobilenet_v3_small"
    config = load(dataset="cifar10", model="resnet18", overrides=target)
    assert type(build_network(config.model)).__name__ == "MobileNetV3"


def test_another_target_takes_what_fits_and_never_loses_what_a_person_set() -> None:
    config = load(overrides="dataset._target_=tests.data.tokens.Tokens +dataset.length=9 dataset.num_classes=3")
    assert (config.dataset.length, config.dataset.num_classes) == (9, 3)  # type: ignore[attr-defined]
    text = fault(overrides="dataset._target_=tests.data.tokens.Tokens dataset.channels=3")
    assert "dataset.channels: Unexpected keyword argument" in text


def test_the_command_repeats_what_differs_from_the_defaults() -> None:
    defaults = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    changed = {**defaults, "algorithm": "weight_averaging", "rounds": 3}
    command = flwr_command(changed, ROOT / "pyproject.toml", 5)
    assert command.startswith("flwr run . --stream --federation-config ")
    assert command.endswith("-c \"algorithm='weight_averaging' rounds=3\"")
    assert flwr_command(defaults, ROOT / "pyproject.toml", None) == "flwr run . --stream"


def test_the_command_says_to_a_shell_and_to_flower_what_was_said(tmp_path: Path) -> None:
    draw, odd = random.Random(0), "ab ='\"\\$`!{}[](),.:~\u00e4\t#&|;<>*?-_"
    given = [{"overrides": "'evaluate.batch_size=${rounds}' \"output_dir='~/a b'\""}, {"name": 'it\'s "x" \\u0041'}]
    given += [{"overrides": "".join(draw.choices(odd, k=draw.randrange(1, 12)))} for _ in range(500)]
    commands = [flwr_command(one, ROOT / "pyproject.toml", None) for one in given]
    script = "\n".join(["flwr() { printf '%s\\0' \"${@: -1}\"; }", *commands])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    said = done.stdout
    assert [parse_config_args([word]) for word in said.split("\0")[:-1]] == given


def test_every_algorithm_says_what_it_is() -> None:
    algorithms = available_algorithms(CONF)
    assert {"dimat", "weight_averaging", "local_only"} <= set(algorithms)
    assert all(about.name and about.description for about in algorithms.values())
    assert "CVPR 2024" in algorithms["dimat"].paper
