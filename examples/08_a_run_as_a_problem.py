"""A muP run, stated as a mean field problem: the theory's network repeats it step by step, the limit stands behind."""

import numpy as np

from limes.compare.problem import mlp_problem, mlp_weights
from limes.spec import MLPSpec, OptimizerSpec, ParametrizationChoice, RunSpec, TrainingSpec
from limes.spec.data import TeacherSpec
from limes.sweep.build import build_run, data_for, plan_between
from limes.theory.dynamics import solve_dmft_mlp, train_network
from limes.train import train

SAMPLES, BASE, WIDTH, LR = 8, 16, 256, 0.03

task = TeacherSpec(num_inputs=6, num_samples=SAMPLES)
training = TrainingSpec(
    steps=20,
    batch_size=SAMPLES,
    optimizer=OptimizerSpec(name="sgd", momentum=0.5),
    schedule="constant",
    warmup_steps=0,
    center_output=True,
    dtype="float64",
)
sizes = {"depth": 2, "activation": "tanh", "num_inputs": 6, "num_outputs": 1}
base, target = MLPSpec(width=BASE, **sizes), MLPSpec(width=WIDTH, **sizes)
plan = plan_between(base, target, ParametrizationChoice(name="mup"), training)
data = data_for(task, target, training, seed=0)
run = RunSpec(
    model=target,
    data=task,
    data_fingerprint=data.fingerprint(),
    training=training,
    seed=0,
    tensors=plan.settings(lr=LR),
)

problem = mlp_problem(run, data)
print(f"a muP run from a base of width {BASE} has gamma0 = {problem.gamma0:g} = {BASE}^-1/2 at every width")
model, data, optimizer = build_run(run)
theory = train_network(problem, weights=mlp_weights(run, model))
trace = train(model, data, optimizer, training)
difference = np.abs(trace.train_loss / theory.loss[:-1] - 1).max()
limit = solve_dmft_mlp(problem)
print(f"trained and stated network differ by {difference:.0e} in the loss at any step")
last, error = limit.loss[-1], limit.loss_error[-1]
print(f"loss after 20 steps: width {WIDTH} {theory.loss[-1]:.4f}, infinite {last:.4f} +- {error:.4f}")
assert difference < 1e-9
