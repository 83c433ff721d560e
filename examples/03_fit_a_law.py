"""Fit the Chinchilla law to a table of runs, and forecast a bigger one with an interval."""

import numpy as np

from limes.laws import CHINCHILLA, fit_law

# A made-up table with a known law, so that the answer can be checked: 6 sizes x 6 token counts, 0.5 % noise.
generator = np.random.default_rng(0)
num_params, num_tokens = map(np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
loss = 1.8 + 480 / num_params**0.35 + 2100 / num_tokens**0.37
table = {"num_params": num_params, "num_tokens": num_tokens, "loss": loss * np.exp(0.005 * generator.normal(size=36))}

fit = fit_law(CHINCHILLA, table)
print("fitted:", {name: round(value, 4) for name, value in fit.params.items()}, fit.status.value)
for flag in fit.flags:
    print("flag:", flag)

forecast = fit.predict({"num_params": [7e9], "num_tokens": [1e12]}, level=0.9)
truth = 1.8 + 480 / 7e9**0.35 + 2100 / 1e12**0.37
print(f"7B parameters, 1T tokens: {forecast.value[0]:.3f}, 90 %: {forecast.low[0]:.3f} to {forecast.high[0]:.3f}")
print(f"truth: {truth:.3f}, {forecast.decades[0]:.1f} decades beyond the table")
assert abs(forecast.value[0] - truth) < 0.05
