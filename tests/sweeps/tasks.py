"""What the processes of a crew are given to do in these tests."""

import os
import signal
import time
from pathlib import Path


def prepare():
    os.environ["PREPARED"] = os.environ.get("PREPARED", "") + "x"


def double(number):
    if number < 0:
        raise ValueError(f"{number} is too small")
    if number == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number, os.getpid(), os.environ["PREPARED"], os.environ.get("WHERE")


def sleep(marker):
    """Write down which process this is, all of it at once, and stay."""
    half = Path(f"{marker}.half")
    half.write_text(str(os.getpid()))
    half.replace(marker)
    time.sleep(3600)
