"""Finite mean-field networks of any depth, sampled from their posterior by Hamiltonian chains."""

import math

import torch

from limes.numerics.langevin import sample_langevin


def sample_networks(problem, width, *, num_chains, num_draws, generator):
    """(T, C, P + M + P): outputs on training and test inputs, then <phi^2> of the last layer on training inputs."""
    depth, gamma0, size = problem.depth, problem.gamma0, len(problem.targets)
    inputs = torch.cat([problem.inputs, problem.test_inputs]) / math.sqrt(problem.inputs.shape[1])
    dim, phi, slope = inputs.shape[1], problem.phi.value, problem.phi.derivative
    lengths = [width * dim] + [width * width] * (depth - 1) + [width]

    def forward(positions):
        parts = positions.split(lengths, 1)
        fields = [parts[0].view(-1, width, dim) @ inputs.T]
        for part in parts[1:-1]:
            fields.append(part.view(-1, width, width) @ phi(fields[-1]) / math.sqrt(width))
        outputs = (parts[-1][:, None] @ phi(fields[-1]))[:, 0] / (gamma0 * width)
        return parts, fields, outputs

    def potential(positions):
        parts, fields, outputs = forward(positions)
        force = torch.zeros_like(outputs)
        force[:, :size] = outputs[:, :size] - problem.targets
        scale = problem.inverse_temperature * gamma0**2 * width
        energy = 0.5 * scale * (force**2).sum(1) + 0.5 * (positions**2).sum(1)
        force = scale * force / (gamma0 * width)
        pieces = [(phi(fields[-1]) @ force[:, :, None])[:, :, 0]]
        signal = parts[-1][:, :, None] * force[:, None] * slope(fields[-1])
        for index in range(depth - 1, 0, -1):
            weight = parts[index].view(-1, width, width)
            pieces.insert(0, (signal @ phi(fields[index - 1]).mT / math.sqrt(width)).flatten(1))
            signal = weight.mT @ signal / math.sqrt(width) * slope(fields[index - 1])
        pieces.insert(0, (signal @ inputs).flatten(1))
        return energy, torch.cat(pieces, 1) + positions

    def observe(positions):
        _, fields, outputs = forward(positions)
        return torch.cat([outputs, (phi(fields[-1])[:, :, :size] ** 2).mean(1)], 1)

    start = torch.randn(num_chains, sum(lengths), generator=generator, dtype=torch.float64)
    return sample_langevin(
        potential,
        start,
        num_draws=num_draws,
        num_warmup=num_draws // 3,
        num_leapfrog=10,
        generator=generator,
        observe=observe,
    )
