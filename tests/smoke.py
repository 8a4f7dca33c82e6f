"""Run by CI on an installed wheel, from another folder: `python smoke.py PREFIX`."""

import sys

import numpy as np

import mlp

prefix = sys.argv[1]
assert mlp.__file__.startswith(prefix), f"{mlp.__file__} is not the installed copy"

network = mlp.Network([2, 2, 1])
network.coefs[0][:] = -0.5
network.intercepts[0][:] = [1, 0]
network.coefs[1][:] = [[2], [-4]]
network.intercepts[1][:] = -1
X = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
assert network.forward(X).ravel().tolist() == [-1, 1, 1, -1]
assert not any(name.startswith("sklearn") for name in sys.modules)

y = np.array(["same", "differs", "differs", "same"])
model = mlp.MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
assert (model.predict(X) == y).all()
mlp.show_config()
assert mlp.plot.LossCurveDisplay and "matplotlib" not in sys.modules
print("the installed wheel works")
