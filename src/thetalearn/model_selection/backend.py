"""A joblib backend that hands all calls of one `Parallel` over together.

scikit-learn's searches and cross-validations give their fits to joblib one by one. Where the calls
are all known before the first is made, those that share their work can be made together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import joblib
from joblib.parallel import FallbackToBackend, ParallelBackendBase, get_active_backend
from sklearn.utils.parallel import Parallel

__all__ = ["CatchingBackend", "Outer"]

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Outer:
    """The backend that would have made the calls, with the number of jobs asked for."""

    def __init__(self, backend: Any, n_jobs: int | None, **options: Any) -> None:
        self.backend, self.n_jobs, self.options = backend, n_jobs, options

    def run(self, calls: Sequence[Call], *, one_by_one: bool = False) -> Iterable[Any]:
        """Make the calls as they would have been made.

        With ``one_by_one`` the results come as soon as they are there, in the order of the calls.
        """
        if not calls:
            return []
        with joblib.parallel_backend(self.backend, n_jobs=self.n_jobs):
            if one_by_one and getattr(self.backend, "supports_return_generator", False):
                options = self.options | {"return_as": "generator"}
                return joblib.Parallel(n_jobs=self.n_jobs, **options)(calls)
            return joblib.Parallel(n_jobs=self.n_jobs, **self.options)(calls)

    def n_workers(self) -> int:
        """Calls that it makes at the same time."""
        return int(self.backend.effective_n_jobs(self.n_jobs))


class CatchingBackend(ParallelBackendBase):
    """Catches the calls of the next `Parallel` that is made, and of no other.

    Parameters
    ----------
    run : callable
        ``run(calls, outer)`` gives the results in the order of the calls.
    """

    supports_inner_max_num_threads = False
    supports_sharedmem = False
    uses_threads = True

    def __init__(self, run: Callable[[list[Call], Outer], list[Any]]) -> None:
        super().__init__(nesting_level=0)
        self._run = run
        self._pending: list[_Job] = []
        self._outer_backend, self._outer_n_jobs = get_active_backend()
        self.default_n_jobs = self._outer_backend.default_n_jobs
        self._context: Any = None
        self.outer: Outer | None = None

    def __enter__(self) -> CatchingBackend:
        self._context = joblib.parallel_backend(self, n_jobs=self._outer_n_jobs)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._release()

    def _release(self) -> None:
        """Let everything else in this thread use the backend of before."""
        if self._context is not None:
            self._context.unregister()
            self._context = None

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Take the place of the backend of a `Parallel`."""
        if not isinstance(parallel, Parallel):
            # scikit-learn's loops have one of its own; this may be a splitter at work.
            raise FallbackToBackend(self._outer_backend)
        self._release()
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        self.parallel = parallel
        names = ("pre_dispatch", "verbose", "timeout")
        given = {name: getattr(parallel, name) for name in names if hasattr(parallel, name)}
        # All calls have to be known, however many would have been dispatched at first.
        parallel.pre_dispatch = "all"
        self.outer = Outer(self._outer_backend, n_jobs, **given)
        return self.effective_n_jobs(n_jobs)

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Two, since joblib makes the calls itself where there is one."""
        return 2

    def compute_batch_size(self) -> int:
        """All calls that are ready."""
        return 2**20

    def submit(self, func: Any, callback: Any = None) -> _Job:
        """Keep calls until their results are asked for."""
        job = _Job(self, func, callback)
        self._pending.append(job)
        return job

    def apply_async(self, func: Any, callback: Any = None) -> _Job:
        """The name that `submit` had in older versions of joblib."""
        return self.submit(func, callback)

    def retrieve_result(self, out: _Job, timeout: float | None = None) -> list[Any]:
        """The results of a job."""
        return out.get(timeout)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Forget what has not been made."""
        self._pending.clear()

    def terminate(self) -> None:
        """Forget what has not been made."""
        self._pending.clear()

    def make_all(self) -> None:
        """Make all calls that are pending."""
        jobs, self._pending = self._pending, []
        assert self.outer is not None
        sizes = [len(job.calls) for job in jobs]
        calls = [call for job in jobs for call in job.calls]
        for job in jobs:
            job.calls = []  # so that those which are done can be forgotten
        results = iter(self._run(calls, self.outer))
        for job, size in zip(jobs, sizes, strict=True):
            job.results = [next(results) for _ in range(size)]


class _Job:
    """Calls that joblib has put into one batch."""

    def __init__(self, backend: CatchingBackend, batch: Any, callback: Any) -> None:
        self._backend, self._callback = backend, callback
        self.calls: list[Call] = list(batch.items)
        self.results: list[Any] | None = None

    def get(self, timeout: float | None = None) -> list[Any]:
        """Results, in the order of the calls."""
        if self.results is None:
            self._backend.make_all()
        assert self.results is not None
        results, self.results = self.results, []
        if self._callback is not None:
            self._callback(results)
        return results
