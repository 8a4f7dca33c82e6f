"""Table of the stochastic solvers, with their own parameters and their documentation.

A new solver needs an entry here, its row in the core's `SOLVER_LIST`, its update in
`training/optimizer.h`, and a reference in the tests.
"""

from dataclasses import dataclass

__all__ = ["STOCHASTIC_SOLVERS", "describe"]


@dataclass(frozen=True)
class Entry:
    """A stochastic solver.

    Attributes
    ----------
    line : str
        Line of the solver in the documentation of the parameter `solver`.
    parameters : tuple of str
        Parameters of the estimators that have an effect only with this solver and those
        that list them too.
    nearest : str
        Solver of scikit-learn that replaces it in `to_sklearn`.
    """

    line: str
    parameters: tuple[str, ...]
    nearest: str

    @property
    def decays_weights(self) -> bool:
        """Whether the solver has decoupled weight decay."""
        return "weight_decay" in self.parameters


#: name -> entry
STOCHASTIC_SOLVERS = {
    "adam": Entry(
        "Adam [S 65.95–65.98]", ("beta_1", "beta_2", "epsilon"), "adam"
    ),
    "adamw": Entry(
        "Adam with decoupled weight decay, by `weight_decay`",
        ("beta_1", "beta_2", "epsilon", "weight_decay"),
        "adam",
    ),
    "sgd": Entry(
        "stochastic gradient descent [S 65.82] with `momentum`",
        ("momentum", "nesterovs_momentum"),
        "sgd",
    ),
}  # fmt: skip


def describe(name: str) -> str:
    """Return the solver's line of a list in a docstring."""
    return f"'{name}': {STOCHASTIC_SOLVERS[name].line}"
