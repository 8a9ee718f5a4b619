"""LoRA adapters are merged through their products, from PEFT's files to PEFT's files."""

import json

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from dimat_flwr.cli import app
from dimat_flwr.merging import Adapter, MergeError, merge_lora

MODULES = {"base_model.model.q": (7, 6), "base_model.model.v": (5, 6)}


def _tensors(rank, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    tensors = {"base_model.model.head.weight": torch.randn(2, 7, generator=generator, dtype=dtype)}
    for name, (out, into) in MODULES.items():
        tensors[f"{name}.lora_A.weight"] = torch.randn(rank, into, generator=generator, dtype=dtype)
        tensors[f"{name}.lora_B.weight"] = torch.randn(out, rank, generator=generator, dtype=dtype)
    return tensors


def _delta(tensors, module, scaling):
    return scaling * tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]


def test_a_rank_that_holds_all_gives_the_mix_of_the_products_and_averaging_the_factors_does_not():
    first, second = Adapter(_tensors(2, 0), 8.0), Adapter(_tensors(3, 1), 5.0)
    merged = merge_lora([first, second], [0.3, 0.7], rank=5)
    assert merged.error == pytest.approx(0, abs=1e-12)
    for module in MODULES:
        expected = 0.3 * _delta(first.tensors, module, 8 / 2) + 0.7 * _delta(second.tensors, module, 5 / 3)
        torch.testing.assert_close(_delta(merged.adapter.tensors, module, merged.adapter.scaling(5)), expected)
    name = "base_model.model.head.weight"
    torch.testing.assert_close(merged.adapter.tensors[name], 0.3 * first.tensors[name] + 0.7 * second.tensors[name])
    assert list(merged.adapter.tensors) == list(first.tensors)

    same_rank = Adapter(_tensors(2, 1), 8.0)
    averaged = {key: 0.5 * (first.tensors[key] + same_rank.tensors[key]) for key in first.tensors}
    right = merge_lora([first, same_rank], rank=4)
    for module in MODULES:
        expected = 0.5 * (_delta(first.tensors, module, 4) + _delta(same_rank.tensors, module, 4))
        torch.testing.assert_close(_delta(right.adapter.tensors, module, 1.0), expected)
        assert (_delta(averaged, module, 4) - expected).norm() > 0.3 * expected.norm()


def test_one_adapter_written_with_other_factors_is_the_same_adapter():
    first = _tensors(2, 0)
    turn = torch.tensor([[2.0, 1.0], [0.0, -0.5]], dtype=torch.float64)
    second = dict(first)
    for module in MODULES:
        second[f"{module}.lora_A.weight"] = turn @ first[f"{module}.lora_A.weight"]
        second[f"{module}.lora_B.weight"] = first[f"{module}.lora_B.weight"] @ turn.inverse()
    merged = merge_lora([Adapter(first, 4.0), Adapter(second, 4.0)])
    assert merged.rank == 2
    assert merged.error == pytest.approx(0, abs=1e-12)
    for module in MODULES:
        torch.testing.assert_close(_delta(merged.adapter.tensors, module, 1.0), _delta(first, module, 2.0))


def test_a_small_rank_is_the_closest_matrix_of_that_rank_and_says_what_it_lost():
    adapters = [Adapter(_tensors(2, seed), 2.0) for seed in range(3)]
    merged = merge_lora(adapters)
    lost = whole = 0.0
    shares = {}
    for module in MODULES:
        exact = sum(_delta(adapter.tensors, module, 1.0) for adapter in adapters) / 3
        values = torch.linalg.svdvals(exact)
        best = float(values[2:].square().sum())
        found = float((_delta(merged.adapter.tensors, module, 1.0) - exact).square().sum())
        assert found == pytest.approx(best)
        lost, whole = lost + best, whole + float(values.square().sum())
        shares[module] = (best / float(values.square().sum())) ** 0.5
    assert merged.error == pytest.approx((lost / whole) ** 0.5)
    assert merged.error > 0.1
    assert merged.worst == (max(shares, key=shares.get), pytest.approx(max(shares.values())))


def test_a_rank_beyond_the_matrix_is_filled_with_zeros():
    merged = merge_lora([Adapter(_tensors(2, seed), 2.0) for seed in range(2)], rank=20)
    assert merged.adapter.tensors["base_model.model.v.lora_A.weight"].shape == (20, 6)
    exact = sum(_delta(_tensors(2, seed), "base_model.model.v", 1.0) for seed in range(2)) / 2
    torch.testing.assert_close(_delta(merged.adapter.tensors, "base_model.model.v", 1.0), exact)


def _changed(**tensors):
    return Adapter({**_tensors(2, 1), **tensors}, 2.0)


A = "base_model.model.q.lora_A.weight"


@pytest.mark.parametrize(
    ("adapters", "weights", "message"),
    [
        ([Adapter({}, 1.0)], None, "give two or more"),
        ([Adapter({}, 1.0)] * 2, None, r"no tensor named \*.lora_A.weight"),
        ([Adapter(_tensors(2, 0), 2.0), Adapter({A: torch.zeros(1)}, 2.0)], None, "adapter 2 has other tensors"),
        ([Adapter(_tensors(2, 0), 2.0), _changed(**{A: torch.full((2, 6), torch.nan)})], None, "adapter 2 holds NaN"),
        ([Adapter(_tensors(2, 0), 2.0), _changed(**{A: torch.zeros(3, 6)})], None, "lora_A must be"),
        ([Adapter(_tensors(2, 0), 2.0), _changed(**{A: torch.zeros(2, 9)})], None, "adapter 1's has"),
        ([_changed(**{"x.lora_embedding_A": torch.zeros(2, 2)})] * 2, None, "no factor of a linear layer"),
        ([_changed(**{"x.lora_A.weight": torch.zeros(2, 2)})] * 2, None, "has no partner"),
        ([_changed()] * 2, [1.0], "1 mixing weights for 2 adapters"),
        ([_changed()] * 2, [1.0, 1.0], "sum to 2"),
    ],
)
def test_what_does_not_fit_is_refused(adapters, weights, message):
    with pytest.raises(MergeError, match=message):
        merge_lora(adapters, weights)


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folders(tmp_path):
    made = []
    for seed, (rank, alpha) in enumerate([(2, 8), (3, 6)]):
        folder = tmp_path / f"adapter{seed}"
        folder.mkdir()
        safetensors.torch.save_file(_tensors(rank, seed, torch.float32), folder / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "r": rank,
            "lora_alpha": alpha,
            "target_modules": ["q", "v"],
            "use_rslora": seed == 1,
        }
        (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "base"}))
        made.append(folder)
    return made


def test_adapters_are_merged_from_folders_to_a_folder(command, folders, tmp_path):
    output = tmp_path / "merged"
    result = command("merge-lora", *folders, "-o", output, "--weights", "0.25,0.75", "--rank", "5")
    assert result.exit_code == 0, result.output
    assert "rank 5 cuts off 0.00% of the mix" in result.output
    config = json.loads((output / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (5, 5, False)
    assert config["target_modules"] == ["q", "v"]
    merged = safetensors.torch.load_file(output / "adapter_model.safetensors")
    loaded = [safetensors.torch.load_file(folder / "adapter_model.safetensors") for folder in folders]
    for module in MODULES:
        expected = 0.25 * _delta(loaded[0], module, 8 / 2) + 0.75 * _delta(loaded[1], module, 6 / 3**0.5)
        torch.testing.assert_close(_delta(merged, module, 1.0), expected, rtol=1e-4, atol=1e-5)
    again = command("merge-lora", *folders, "-o", output)
    assert again.exit_code == 1
    assert "exists: name a folder that does not" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter0", "adapter1", "merged"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "is no LoRA adapter (peft_type: IA3)"),
        ({"use_dora": True}, "has use_dora=True, which merging does not know"),
        ({"lora_alpha": None}, "has lora_alpha=None"),
        ({"base_model_name_or_path": "other"}, "adapts 'other'"),
    ],
)
def test_other_adapters_are_refused_and_nothing_is_written(command, folders, tmp_path, change, message):
    path = folders[1] / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    result = command("merge-lora", *folders, "-o", tmp_path / "merged")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not (tmp_path / "merged").exists()


def test_a_missing_file_is_named(command, folders, tmp_path):
    (folders[1] / "adapter_config.json").unlink()
    result = command("merge-lora", *folders, "-o", tmp_path / "merged")
    assert "there is no adapter_config.json in" in result.stderr
