"""Curvature: products, eigenvalues, trace and density against dense Hessians; stability limits against real steps."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from limes.core.errors import SpecError
from limes.measure.hessian import hessian_operator
from limes.measure.hessian_spectrum import hessian_density, hessian_trace
from limes.measure.sharpness import sharpness
from limes.measure.stability import edge_of_stability
from limes.numerics.lanczos import largest_eigenpairs
from support.refusals import one_sentence


def squared(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, targets = batch
    return 0.5 * (model(inputs).flatten(1).sum(1) - targets).square().mean()


class Tied(nn.Module):
    """One matrix used twice, and a frozen bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.first.bias.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(inputs)))


class Attending(nn.Module):
    """Scaled dot-product attention over the inputs as a sequence, then dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.drop = nn.MultiheadAttention(2, 1, batch_first=True, dropout=0.5), nn.Dropout(0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = inputs.unflatten(1, (2, 2))
        return self.drop(self.heads(tokens, tokens, tokens, need_weights=False)[0])


NETWORKS = {
    "mlp": lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)),
    "batch_norm": lambda: nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 1)
    ),
    "tied": Tied,
    "attention": Attending,
}


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = NETWORKS[name]().to(dtype)
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    return model, (inputs.to(dtype), inputs.prod(1).to(dtype))


def dense(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The Hessian in evaluation mode by torch's nested differentiation, in the order of the parameters."""
    was_training = model.training
    model.eval()
    moving = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    names, sizes = list(moving), [p.numel() for p in moving.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = {name: part.view_as(moving[name]) for name, part in zip(names, flat.split(sizes))}
        return squared_of(functional_call(model, parts, (batch[0],)), batch[1])

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        result = hessian(loss, torch.cat([p.flatten() for p in moving.values()]))
    model.train(was_training)
    return result


def squared_of(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * (outputs.flatten(1).sum(1) - targets).square().mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_products_equal_the_dense_hessian(name: str) -> None:
    model, batch = made(name)
    matrix = dense(model, batch)
    with hessian_operator(model, squared, batch) as operator:
        rows = torch.stack([operator.product(row) for row in torch.eye(len(matrix), dtype=torch.float64)])
    torch.testing.assert_close(rows, matrix, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(rows, rows.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_sharpness_is_the_largest_eigenvalue(name: str, dtype: torch.dtype) -> None:
    model, batch = made(name, dtype)
    exact = torch.linalg.eigvalsh(dense(*made(name))).flip(0)
    found = sharpness(model, squared, batch, top=3, tolerance=1e-5)
    assert found.converged and found.num_products <= len(exact)
    torch.testing.assert_close(found.values, exact[:3], rtol=1e-4, atol=1e-5 * exact[0].item())


@pytest.mark.parametrize("name", NETWORKS)
def test_everything_is_left_as_found(name: str) -> None:
    model, batch = made(name)
    model.train()
    squared(model, batch).backward()
    model[2].eval() if name == "mlp" else None
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = {key: None if p.grad is None else p.grad.clone() for key, p in model.named_parameters()}
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    sharpness(model, squared, batch, batch_statistics=True)
    hessian_trace(model, squared, batch, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for key, parameter in model.named_parameters():
        expected = gradients[key]
        assert parameter.grad is None if expected is None else torch.equal(parameter.grad, expected)
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(state, torch.get_rng_state())


def test_the_model_is_restored_after_an_error() -> None:
    model, batch = made("batch_norm")
    model.train()
    with pytest.raises(RuntimeError, match="on purpose"):
        sharpness(model, lambda *_: (_ for _ in ()).throw(RuntimeError("on purpose")), batch)
    assert all(module.training for module in model.modules())


def test_the_sign_is_right_where_power_iteration_fails() -> None:
    """Eigenvalues 0.9 and -1: the largest is 0.9, the largest in size is not."""
    model = nn.Linear(2, 1, bias=False).double()
    curvature = torch.tensor([0.9, -1.0], dtype=torch.float64)
    saddle = lambda module, _: 0.5 * (curvature * module.weight.square()).sum()  # noqa: E731
    assert sharpness(model, saddle, None).value == pytest.approx(0.9, abs=1e-12)
    with hessian_operator(model, saddle, None) as operator:
        vector = torch.ones(2, dtype=torch.float64)
        for _ in range(400):
            vector = operator.product(vector / vector.norm())
            rayleigh = torch.dot(vector, operator.product(vector)) / vector.square().sum()
    assert rayleigh.item() == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_sharpness_is_that_of_arpack_on_the_same_products(name: str) -> None:
    model, batch = made(name)
    with hessian_operator(model, squared, batch) as hessian:
        shape = (hessian.num_params, hessian.num_params)

        def product(vector: np.ndarray) -> np.ndarray:
            return hessian.product(torch.from_numpy(vector.ravel())).numpy()

        operator = LinearOperator(shape, matvec=product, dtype=np.float64)
        expected = eigsh(operator, k=1, which="LA", tol=1e-6, v0=np.ones(shape[0]), return_eigenvectors=False)[0]
        products = hessian.num_products
    found = sharpness(model, squared, batch, tolerance=1e-6)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.num_products <= products


def test_a_warm_start_saves_products() -> None:
    model, batch = made("mlp")
    cold = sharpness(model, squared, batch, tolerance=1e-3)
    assert sharpness(model, squared, batch, tolerance=1e-3, start=cold).num_products < cold.num_products


def test_order_of_parameters_does_not_matter() -> None:
    model, batch = made("mlp")
    turned = nn.ModuleDict({"b": model[2], "a": model[0]})
    other = sharpness(turned, lambda m, data: squared_of(m["b"](torch.tanh(m["a"](data[0]))), data[1]), batch)
    assert other.value == pytest.approx(sharpness(model, squared, batch).value, rel=1e-8)


def test_restarts_find_the_same_values() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 200, generator=generator, dtype=torch.float64)
    matrix, start = rows + rows.T, torch.ones(200, dtype=torch.float64)
    exact = torch.linalg.eigvalsh(matrix).flip(0)[:4]
    for max_vectors in (12, 200):
        found = largest_eigenpairs(lambda v: matrix @ v, start, num=4, max_vectors=max_vectors)
        assert found.converged
        torch.testing.assert_close(found.values, exact, rtol=1e-9, atol=0)


def test_a_tolerance_below_rounding_stops_and_says_so() -> None:
    model, batch = made("mlp", torch.float32)
    found = sharpness(model, squared, batch, tolerance=1e-12)
    exact = torch.linalg.eigvalsh(dense(*made("mlp")))[-1].item()
    assert found.value == pytest.approx(exact, rel=1e-5) and found.num_products < 100


def diagonal(values: Tensor) -> tuple[nn.Module, object]:
    model = nn.Linear(len(values), 1, bias=False).double()
    return model, lambda module, _: 0.5 * (values * module.weight.square()).sum()


def test_density_is_exact_on_a_known_spectrum() -> None:
    values = torch.tensor([-2.0, 0.0, 0.0, 1.0, 5.0], dtype=torch.float64)
    model, loss = diagonal(values)
    found = hessian_density(model, loss, None, generator=torch.Generator().manual_seed(0), num_steps=5)
    assert found.weights.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert (found.nodes.min().item(), found.nodes.max().item()) == pytest.approx((-2.0, 5.0), abs=1e-10)
    # Signs as probes: on a diagonal matrix every moment is exact.
    assert found.moment(1) == pytest.approx(values.mean().item(), abs=1e-10)
    assert found.moment(2) == pytest.approx(values.square().mean().item(), abs=1e-10)
    grid = torch.linspace(-4, 7, 2001, dtype=torch.float64)
    assert torch.trapezoid(found.smoothed(grid, width=0.1), grid).item() == pytest.approx(1.0, abs=1e-6)


def test_trace_lies_within_its_error() -> None:
    model, batch = made("attention")
    exact = dense(model, batch).trace().item()
    found = hessian_trace(model, squared, batch, generator=torch.Generator().manual_seed(0), num_probes=400)
    assert abs(found.value - exact) < 4 * found.error


def adaptive(kind: type[torch.optim.Adam], **options: object):
    """Adam whose second moments have come to rest, so that its preconditioner is a constant."""

    def make(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        optimizer = kind(parameters, lr=lr, betas=(0.9, 1 - 1e-15), eps=1e-3, **options)
        for parameter in parameters:
            optimizer.state[parameter] = {
                "step": torch.tensor(1e6, dtype=torch.float64),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.full_like(parameter, 2e-9),
            }
        return optimizer

    return make


OPTIMIZERS = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "heavy_ball": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    "dampened": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.8, dampening=0.8),
    "dampened without momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, dampening=0.5),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
    "l2": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.5, weight_decay=0.3),
    "adam": adaptive(torch.optim.Adam),
    "adam_l2": adaptive(torch.optim.Adam, weight_decay=0.3),
    "adamw": adaptive(torch.optim.AdamW, weight_decay=0.5),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_diverge_exactly_beyond_the_limit(name: str) -> None:
    """A quadratic of two curvatures, its learning rate set 2 % to either side of the limit that was measured."""
    values = torch.tensor([1.0, 0.2], dtype=torch.float64)
    model, loss = diagonal(values)
    nn.init.ones_(model.weight)
    # The limit may depend on the rate itself, through decoupled decay.
    low, high = 0.0, 100.0
    for _ in range(30):
        rate = 0.5 * (low + high)
        found = edge_of_stability(model, loss, None, OPTIMIZERS[name](list(model.parameters()), rate))
        low, high = (rate, high) if found.sharpness.value < found.limit else (low, rate)
    for factor, grows in ((0.98, False), (1.02, True)):
        nn.init.ones_(model.weight)
        optimizer = OPTIMIZERS[name](list(model.parameters()), factor * rate)
        largest = 0.0
        for _ in range(1000):
            optimizer.zero_grad()
            loss(model, None).backward()
            optimizer.step()
            largest = max(largest, model.weight.abs().max().item())
            if largest > 100.0:
                # Further out, Adam's second moments would grow and calm it down.
                break
        assert (largest > 100.0) == grows, (name, factor, largest)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, b: sharpness(m.requires_grad_(False), squared, b), "no trainable parameter"),
        (lambda m, b: sharpness(m, lambda *_: torch.ones(2), b), "expected one number"),
        (lambda m, b: sharpness(m, lambda *a: squared(*a) * torch.inf, b), "the loss on this batch is inf"),
        (lambda m, b: sharpness(m, squared, b, scaling={"9.weight": 1.0}), "9.weight"),
        (lambda m, b: sharpness(m, squared, b, scaling={"0.weight": -1.0}), "negative"),
        (lambda m, b: sharpness(m, squared, b, top=0), "top 0"),
        (lambda m, b: sharpness(m, squared, b, start=sharpness(nn.Linear(4, 1).double(), squared, b)), "same model"),
        (lambda m, b: edge_of_stability(m, squared, b, torch.optim.Adagrad(m.parameters())), "Adagrad"),
        (lambda m, b: edge_of_stability(m, squared, b, torch.optim.Adam(m.parameters())), "made no step"),
        (lambda m, b: edge_of_stability(m, squared, b, torch.optim.SGD(nn.Linear(1, 1).parameters())), "no trainable"),
        (lambda m, b: hessian_trace(m, squared, b, generator=torch.Generator(), num_probes=1), "num_probes 1"),
    ],
)
def test_bad_input_is_one_sentence(call, words: str) -> None:
    with one_sentence(SpecError, words):
        call(*made("mlp"))
