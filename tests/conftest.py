"""Settings for all tests."""

import os
import tempfile

import torch
from hypothesis import HealthCheck, settings

# A loaded machine is slow, not wrong; and a failure must come again when the test is run again.
settings.register_profile(
    "dimat", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("dimat")
torch.set_num_threads(1)
# What is kept per machine is kept for one test run only, also by the processes that a test starts.
_CACHE = tempfile.TemporaryDirectory(prefix="dimat-flwr-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name
