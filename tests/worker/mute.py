"""A worker that never hears anybody."""

import time

if __name__ == "__main__":
    time.sleep(600)
