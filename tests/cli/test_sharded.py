"""Checkpoints in shards, as Hugging Face writes them."""

import json

import pytest
import safetensors.torch
import torch

from dimat_flwr.cli.checkpoints import load_checkpoint
from dimat_flwr.cli.errors import CommandError


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3), "b.weight": torch.randn(2, 3).bfloat16()}


@pytest.fixture
def folder(tmp_path, state):
    places = {"a.weight": "model-00001-of-00002.safetensors", "a.bias": "model-00001-of-00002.safetensors"}
    places["b.weight"] = "model-00002-of-00002.safetensors"
    for shard in set(places.values()):
        own = {name: tensor for name, tensor in state.items() if places[name] == shard}
        safetensors.torch.save_file(own, tmp_path / shard)
    _write_index(tmp_path, places)
    return tmp_path


def _write_index(folder, places):
    content = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def _places(folder):
    return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]


@pytest.mark.parametrize("name", ["", "model.safetensors.index.json"])
def test_shards_are_one_state_dict(folder, state, name):
    loaded = load_checkpoint(folder / name)
    assert list(loaded) == list(state)
    for key, tensor in state.items():
        assert loaded[key].dtype == tensor.dtype
        assert torch.equal(loaded[key], tensor)


def test_a_folder_with_one_file_is_that_file(tmp_path, state):
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    assert load_checkpoint(tmp_path).keys() == state.keys()


def test_a_missing_shard_is_named(folder):
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CommandError, match="Put all 2 there"):
        load_checkpoint(folder)


def test_a_tensor_that_its_shard_lacks_is_named(folder):
    _write_index(folder, {**_places(folder), "c.weight": "model-00002-of-00002.safetensors"})
    with pytest.raises(CommandError, match=r"00002-of-00002\.safetensors lacks c\.weight"):
        load_checkpoint(folder)


def test_a_damaged_shard_is_named(folder):
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"12345678{")
    with pytest.raises(CommandError, match=r"shard .*model-00001-of-00002\.safetensors cannot be read"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": {"a": 3}}', "has no weight_map"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "files outside its folder: ../model.safetensors"),
    ],
)
def test_an_index_that_is_none_is_refused(folder, content, message):
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CommandError, match=message):
        load_checkpoint(folder)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CommandError, match="has neither"):
        load_checkpoint(tmp_path)
