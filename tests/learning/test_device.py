"""Device names and number formats."""

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


def test_a_gpu_that_is_not_used_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for here in (False, True):
        monkeypatch.setattr(nvidia, "has_driver", lambda here=here: here)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert ("put client-resources-num-gpus=0.2 into --federation-config" in idle_gpu("auto")) == here
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert (f"torch {torch.__version__}, built for" in idle_gpu("auto")) == here
        assert idle_gpu("cpu") == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert idle_gpu("auto") == ""
