import subprocess
import sys


def test_the_relay_never_imports_torch() -> None:
    script = "import sys, dimat_flwr.relay; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
