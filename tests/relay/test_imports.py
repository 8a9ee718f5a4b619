"""What relay and security must not import: torch ever, and what is slow unless it is used."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for room in ("relay", "security")
    for path in (ROOT / "dimat_flwr" / room).glob("*.py")
)


def test_no_module_of_relay_and_security_imports_torch_or_what_is_slow() -> None:
    """All of them in one fresh interpreter: what none of them imports, no single one does."""
    assert {
        "dimat_flwr.relay",
        "dimat_flwr.security.protection",
        "dimat_flwr.relay.traffic",
        "dimat_flwr.relay.strategy",
    } <= set(MODULES)
    script = f"import sys, {', '.join(MODULES)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT)
    packages = set(found.stdout.split())
    assert "flwr" in packages
    assert "torch" not in packages
    assert not packages & {"networkx", "scipy", "matplotlib", "sklearn"}, "import these only where they are used"
