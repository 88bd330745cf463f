"""A callable kernel whose name is the same in every process."""

from sklearn.metrics import pairwise


class CallableKernel:
    def __call__(self, X, Y):
        return pairwise.rbf_kernel(X, Y)

    def __repr__(self):
        return "callable_kernel"
