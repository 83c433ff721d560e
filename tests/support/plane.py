"""Four samples and two test inputs in the plane: the data of all recorded rows of Bayesian networks."""

import numpy as np

X = np.array([[1.0, 0.5], [-0.4, 1.2], [0.8, -1.0], [-1.1, -0.3]])
Y = np.array([1.0, -0.5, 0.7, -0.9])
TEST = np.array([[0.3, 0.9], [1.5, -0.2]])
