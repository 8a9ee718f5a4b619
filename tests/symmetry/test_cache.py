"""Specifications on disk: found once, read fast, by any number of processes, never stale."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from dimat_flwr.symmetry import (
    SymmetryError,
    cached_permutation_spec,
    find_permutation_spec,
    spec_from_json,
    spec_to_json,
)
from dimat_flwr.symmetry.fingerprint import fingerprint
from tests.symmetry.networks import Attention, ConvNet, Gpt, ResNet20, TextEncoder

NETWORKS = {
    "resnet": (ResNet20("A"), torch.randn(2, 3, 16, 16)),
    "heads": (Attention("grouped"), torch.randn(2, 6, 5)),
    "gpt": (Gpt(), torch.randint(0, 11, (2, 6))),
    "export": (TextEncoder(), torch.randint(0, 20, (2, 7))),
    "groups": (ConvNet(nn.Conv2d(8, 12, 3, groups=4), after=12), torch.randn(2, 3, 8, 8)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETWORKS))
def test_what_is_read_is_what_was_written(name):
    model, x = NETWORKS[name]
    spec = find_permutation_spec(model, x, prove=False)
    text = spec_to_json(spec)
    again = spec_from_json(text, model, x)
    assert spec_to_json(again) == text
    assert again.describe() == spec.describe()
    p = spec.random(torch.Generator().manual_seed(0))
    a, b = (s.apply(model.state_dict(), s.permutation(dict(p))) for s in (spec, again))
    assert all(torch.equal(a[k], b[k]) for k in a)
    seen: dict[str, list[torch.Tensor]] = {"spec": [], "again": []}
    for key, s in (("spec", spec), ("again", again)):
        with torch.no_grad():
            s.traced.run(model.state_dict(), x, lambda tap, value, key=key: seen[key].append(tap.units(value).clone()))
    assert len(seen["spec"]) == len(seen["again"]) > 0
    assert all(map(torch.equal, seen["spec"], seen["again"]))


@pytest.mark.slow
def test_a_stored_specification_is_read_without_a_tracer(tmp_path):
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from torchvision.models import resnet18\n"
        "from dimat_flwr.symmetry import cached_permutation_spec\n"
        "model, x = resnet18(weights=None), torch.zeros(2, 3, 32, 32)\n"
        "before = set(sys.modules)\n"
        f"spec = cached_permutation_spec(model, x, Path({str(tmp_path)!r}))\n"
        "found = [m for m in ('sympy', 'torch.export', 'dimat_flwr.symmetry.find') if m in set(sys.modules) - before]\n"
        "print(len(spec.groups), found)\n"
    )
    cached_permutation_spec(torchvision.models.resnet18(weights=None), torch.zeros(2, 3, 32, 32), tmp_path)
    environment = {**os.environ, "PYTHONHASHSEED": "7"}  # the fingerprint is the same in every process
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    groups, found = done.stdout.split(maxsplit=1)
    assert int(groups) == 12
    assert found.strip() == "[]"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_fingerprint_sees_all_that_matters_and_no_weights():
    x = torch.randn(2, 3, 16, 16)
    one, other = ResNet20("A"), ResNet20("A")
    assert fingerprint(one, x) == fingerprint(other, x)
    other.train().conv1.weight.data.zero_()
    assert fingerprint(one, x) == fingerprint(other.eval(), torch.randn(2, 3, 16, 16))
    different = [ResNet20("B"), ResNet20("A", width=4), ConvNet(nn.ReLU()), ConvNet(nn.Tanh())]
    patched, scaled, tied, buffered, hooked = (ResNet20("A") for _ in range(5))
    patched.fc.forward = lambda x: x
    scaled.blocks[3].more = 7
    tied.blocks[1].conv1.weight = tied.blocks[0].conv1.weight
    buffered.register_buffer("b", torch.ones(2), persistent=False)
    hooked.fc.register_forward_hook(lambda m, a, o: o)
    different += [patched, scaled, tied, buffered, hooked]
    other_buffer = ResNet20("A")
    other_buffer.register_buffer("b", torch.zeros(2), persistent=False)
    different.append(other_buffer)
    prints = [fingerprint(m, x) for m in (one, *different)]
    assert len(set(prints)) == len(prints)
    assert fingerprint(one, x) != fingerprint(one, torch.randn(2, 3, 32, 32))


@pytest.mark.slow
def test_many_processes_may_write_at_once(tmp_path):
    # Forks of one process are at it at the same moment, and starting one takes seconds.
    script = (
        "import os\nimport torch\nfrom pathlib import Path\nfrom torch import nn\n"
        "from dimat_flwr.symmetry import cached_permutation_spec, find_permutation_spec\n"
        "torch.set_num_threads(1)\n"
        "model, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(2, 3)\n"
        "find_permutation_spec(model, x)\n"
        "waiting, begin = os.pipe()\n"
        "for _ in range(6):\n"
        "    if not os.fork():\n"
        "        os.close(begin)\n"
        "        os.read(waiting, 1)\n"
        f"        spec = cached_permutation_spec(model, x, Path({str(tmp_path)!r}))\n"
        "        os._exit(100 + len(spec.groups))\n"
        "os.close(begin)\n"
        "print(*(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(6)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["101"] * 6
    assert [p.suffix for p in tmp_path.iterdir()] == [".json"]


@pytest.mark.parametrize("content", ["", "{", '{"format": 99}', "[]", '{"format": 1}', "\ufffd"])
def test_a_damaged_file_is_replaced_with_a_warning(tmp_path, content):
    model, x = ConvNet(), torch.randn(2, 3, 8, 8)
    spec = cached_permutation_spec(model, x, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_text()
    path.write_text(content)
    with pytest.warns(UserWarning, match="is replaced"):
        assert cached_permutation_spec(model, x, tmp_path).describe() == spec.describe()
    assert path.read_text() == whole


def test_a_specification_of_another_network_is_refused():
    text = spec_to_json(find_permutation_spec(ConvNet(), torch.randn(2, 3, 8, 8)))
    with pytest.raises(SymmetryError, match=r"other tensors \['middle\.0\.bias'"):
        spec_from_json(text, ConvNet(nn.BatchNorm2d(8)), torch.randn(2, 3, 8, 8))
    assert json.loads(text)["format"] == 1


def test_metadata_of_a_state_dict_is_kept():
    model = torchvision.models.mnasnet0_5(weights=None)
    spec = find_permutation_spec(model, torch.randn(2, 3, 32, 32), prove=False)
    permuted = spec.apply(model.state_dict(), spec.random(torch.Generator().manual_seed(0)))
    torchvision.models.mnasnet0_5(weights=None).load_state_dict(permuted)
