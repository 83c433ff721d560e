"""The mean field equations of random-feature descent solved in the time domain, step by step: slow, and independent.

All functions of two times are T x T matrices; causality makes the responses lower triangular, so a plain fixed-point
iteration ends exactly. Letters as in arXiv:2402.01092: R responses, C correlations, Theta the sum over past steps.
"""

import numpy as np


def solve_in_time(lam, power, *, lr, num_steps, num_features, num_samples, noise_var=0.0):
    """Test and training losses after 0 .. num_steps steps of gradient descent, (T,) each."""
    size = num_steps + 1
    n, p = 1.0 / num_features, 1.0 / num_samples
    one, theta = np.eye(size), lr * np.tri(size, k=-1)
    r1, r3 = one.copy(), one.copy()
    for _ in range(size + 2):
        h = _propagators(lam, theta, r1, r3)
        weighted = np.einsum("k,kts->ts", lam, h)
        new1 = np.linalg.inv(one + p * weighted @ theta @ r3)
        new3 = np.linalg.inv(one + n * r1 @ weighted @ theta)
        done = max(np.abs(new1 - r1).max(), np.abs(new3 - r3).max()) < 1e-14
        r1, r3 = new1, new3
        if done:
            break
    h = _propagators(lam, theta, r1, r3)
    target = np.array([np.outer(row, row) for row in h.sum(2)])
    c1, c3 = np.zeros((size, size)), np.zeros((size, size))
    for _ in range(500):
        c0 = np.einsum("k,kts->ts", power, target)
        c2 = r1 @ np.einsum("k,kts->ts", lam * power, target) @ r1.T
        for rate, k in zip(lam, h, strict=True):
            push = theta @ (n * c3 + p * rate * r3 @ c1 @ r3.T) @ theta.T
            c0 += rate * k @ push @ k.T
            kick = one - rate * r1 @ k @ theta @ r3
            answer = rate * r1 @ k @ theta
            c2 += rate * p * kick @ c1 @ kick.T + n * answer @ c3 @ answer.T
        new1, new3 = r1 @ (c0 + noise_var) @ r1.T, r3 @ c2 @ r3.T
        change = np.abs(new1 - c1).max() + np.abs(new3 - c3).max()
        c1, c3 = new1, new3
        if change < 1e-12 * np.abs(c1).max():
            break
    else:
        raise AssertionError("the time-domain iteration did not settle")
    return np.diag(c0).copy(), np.diag(c1).copy()


def _propagators(lam, theta, r1, r3):
    """(K, T, T) responses of each mode to its own source."""
    size = len(theta)
    return np.array([np.linalg.inv(np.eye(size) + rate * theta @ r3 @ r1) for rate in lam])
