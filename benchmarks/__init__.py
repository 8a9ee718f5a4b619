"""What the figures in the documentation come from. A package, because opacus installs another one of this name."""
