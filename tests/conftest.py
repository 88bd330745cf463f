"""Settings of the whole suite."""

import os

from hypothesis import settings

# Before NumPy and torch are imported: one thread a worker, because the workers share the cores, and
# because sums in a fixed order give the same digits on every run.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# The time of one example depends on the machine and on first imports: no deadline.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
