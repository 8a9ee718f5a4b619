"""What a sweep came to: its cells' runs side by side, as means over seeds, beside what a paper says."""

from dimat_flwr.records.sweep.read import METRICS, SWEEP_FILE, Cell, PaperValue, Sweep, is_sweep, read_sweep
from dimat_flwr.records.sweep.write import draw_sweep

__all__ = ["METRICS", "SWEEP_FILE", "Cell", "PaperValue", "Sweep", "draw_sweep", "is_sweep", "read_sweep"]
