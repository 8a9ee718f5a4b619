"""Device names and number formats."""

import sys
from types import SimpleNamespace

import pytest
import torch

from dimat_flwr import nvidia
from dimat_flwr.learning import DeviceError, autocast, idle_gpu, resolve_device


def test_cpu_and_auto(monkeypatch):
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")


def test_cuda_devices_are_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", 0)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match="'cuda:2' was asked for, but torch sees only 2 CUDA devices"):
        resolve_device("cuda:2")


def test_absent_and_unknown_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="torch sees no CUDA device here; use auto or cpu"):
        resolve_device("cuda:0")
    for name in ("gpu", "cuda:", "cuda:-1", "CPU"):
        with pytest.raises(DeviceError, match="unknown device"):
            resolve_device(name)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_precision_on_the_cpu(precision, dtype):
    layer = torch.nn.Linear(3, 2)
    with autocast(torch.device("cpu"), precision):
        assert layer(torch.ones(1, 3)).dtype == dtype


def test_a_gpu_that_torch_does_not_see_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for value in (None, "9"):
        monkeypatch.delenv(nvidia.VISIBLE, raising=False)
        if value is not None:
            monkeypatch.setenv(nvidia.VISIBLE, value)
        for here in (False, True):
            monkeypatch.setattr(nvidia, "has_gpu", lambda here=here: here)
            assert (f"torch {torch.__version__}, " in idle_gpu("auto")) == here
            assert idle_gpu("cpu") == idle_gpu("cuda") == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert idle_gpu("auto") == ""


@pytest.mark.parametrize("value", ["", "-1", " ", "-1,0", "NoDevFiles"])
def test_a_gpu_that_is_hidden_is_told_where_flower_hides_it_and_not_where_a_person_does(monkeypatch, value):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(nvidia, "has_gpu", lambda: True)
    monkeypatch.setenv(nvidia.VISIBLE, value)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert idle_gpu("auto") == "", "in dimat-flwr local, at a SuperNode, in a sweep"
    for started, resources in ((False, {}), (True, {"CPU": 2.0}), (True, {"CPU": 2.0, "GPU": 1.0})):
        ray = SimpleNamespace(is_initialized=lambda started=started: started, cluster_resources=lambda r=resources: r)
        monkeypatch.setitem(sys.modules, "ray", ray)
        told = "put client-resources-num-gpus=0.2 into --federation-config" in idle_gpu("auto")
        assert told == ("GPU" in resources)
        assert (idle_gpu("auto") != "") == told


def test_a_program_of_the_driver_without_a_gpu_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(nvidia, "_DEVICES", tmp_path / "dev")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not nvidia.has_gpu()
    program = tmp_path / "nvidia-smi"
    answers = {
        "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'": True,
        "echo 'No devices were found'": False,
        "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9": False,
    }
    for answer, here in answers.items():
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
        assert nvidia.has_gpu() == here
    program.unlink()
    (tmp_path / "dev").mkdir()
    for name, here in (("nvidiactl", False), ("nvidia-uvm", False), ("nvidia0", True)):
        (tmp_path / "dev" / name).touch()
        assert nvidia.has_gpu() == here
