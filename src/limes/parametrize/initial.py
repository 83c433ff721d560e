"""How the base initializes each tensor: distribution, mean and standard deviation.

One real build on the CPU, under a forked random state. The calls that fill the tensors are recorded, so that
the exact std is known where one call did it; what was filled in another way is measured, pooled over the
layers of one template, and checked against a second build: a pattern that no random number enters is left to
the model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from limes.core.errors import PlanError
from limes.parametrize.names import named_tensors, template_of
from limes.parametrize.sizes import Build
from limes.parametrize.trace import op_name
from limes.spec.run import InitKind

MAX_BASE_BYTES = 2 * 1024**3
_SAMPLE = 2**20  # enough entries to contradict a law, without a float64 copy of a big table


@dataclass(frozen=True, slots=True)
class InitLaw:
    """Distribution of the entries of one tensor at initialization."""

    kind: InitKind
    mean: float
    std: float


_UNIT_NORMAL, _UNIT_UNIFORM = InitLaw("normal", 0.0, 1.0), InitLaw("uniform", 0.5, 12**-0.5)
_DRAWS = {"randn": _UNIT_NORMAL, "randn_like": _UNIT_NORMAL, "rand": _UNIT_UNIFORM, "rand_like": _UNIT_UNIFORM}
_COPIES = frozenset({"to", "float", "double", "half", "bfloat16", "clone", "contiguous", "type", "type_as"})
_SCALES = {"mul_": 1, "div_": -1, "__imul__": 1, "__itruediv__": -1, "mul": 1, "__mul__": 1, "__rmul__": 1, "div": -1,
           "__truediv__": -1}  # fmt: skip


class _InitRecorder(TorchFunctionMode):
    """Remembers, per storage, the law that the last call over all its entries left behind."""

    def __init__(self) -> None:
        super().__init__()
        self.laws: dict[int, InitLaw | None] = {}
        self.keep: list[Any] = []  # a storage's address is only unique while it lives

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = op_name(func)
        tensor = args[0] if args else kwargs.get("tensor")
        writes = (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__imul__", "__itruediv__")
        if writes and isinstance(tensor, Tensor) and name != "requires_grad_":
            storage = tensor.untyped_storage()
            if tensor.numel() * tensor.element_size() >= storage.nbytes() and name != "__setitem__":
                self.remember(tensor, self.written(name, tensor, args, kwargs))
            elif not _is_zero_fill(name, args):
                self.remember(tensor, None)
        elif isinstance(kwargs.get("out"), Tensor):
            self.remember(kwargs["out"], None)
        elif isinstance(result, Tensor) and name in _DRAWS:
            self.remember(result, _DRAWS[name])
        elif isinstance(result, Tensor) and name in _SCALES and len(args) == 2:
            self.remember(result, self.scaled(name, args))
        elif isinstance(result, Tensor) and name in _COPIES and isinstance(tensor, Tensor):
            self.remember(result, self.law_of(tensor))
        return result

    def remember(self, tensor: Tensor, law: InitLaw | None) -> None:
        storage = tensor.untyped_storage()
        self.keep.append(storage)
        self.laws[storage._cdata] = law

    def law_of(self, tensor: Tensor) -> InitLaw | None:
        """The law of a tensor that covers its whole storage."""
        storage = tensor.untyped_storage()
        whole = tensor.numel() * tensor.element_size() >= storage.nbytes()
        return self.laws.get(storage._cdata) if whole else None

    def scaled(self, name: str, args: Any) -> InitLaw | None:
        tensor, factor = args if isinstance(args[0], Tensor) else (args[1], args[0])
        before = self.law_of(tensor) if isinstance(tensor, Tensor) else None
        if before is None or not isinstance(factor, int | float) or not factor:
            return None
        factor = float(factor) ** _SCALES[name]
        return InitLaw(before.kind, before.mean * factor, before.std * abs(factor))

    def written(self, name: str, tensor: Tensor, args: Any, kwargs: Any) -> InitLaw | None:
        def get(position: int, *names: str, default: float) -> float:
            value = args[position] if len(args) > position else default
            for key in names:
                value = kwargs.get(key, value)
            return float(value)

        try:
            if name == "normal_":
                return InitLaw("normal", get(1, "mean", default=0.0), get(2, "std", default=1.0))
            if name == "uniform_":
                low, high = get(1, "from", "a", default=0.0), get(2, "to", "b", default=1.0)
                return InitLaw("uniform", (low + high) / 2, (high - low) / 12**0.5)
            if name in ("zero_", "fill_", "constant_"):
                return InitLaw("constant", get(1, "value", "val", default=0.0), 0.0)
            if name in ("kaiming_uniform_", "kaiming_normal_"):
                return _kaiming(name, tensor, args, kwargs)
            if name in _SCALES:
                return self.scaled(name, args)
            if name == "copy_" and isinstance(args[1], Tensor) and args[1].shape == tensor.shape:
                return self.law_of(args[1])
        except (TypeError, ValueError):
            return None
        return None


def _is_zero_fill(name: str, args: Any) -> bool:
    """A row set to zero, as for padding, leaves the law of the other rows alone."""
    value = args[-1] if len(args) > 1 else 0
    return name in ("zero_", "fill_", "__setitem__") and not isinstance(value, Tensor) and value == 0


def _kaiming(name: str, tensor: Tensor, args: Any, kwargs: Any) -> InitLaw:
    names = ("tensor", "a", "mode", "nonlinearity")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    mode, nonlinearity = given.get("mode", "fan_in"), given.get("nonlinearity", "leaky_relu")
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(tensor)
    gain = nn.init.calculate_gain(nonlinearity, given.get("a", 0))
    std = gain / (fan_in if mode == "fan_in" else fan_out) ** 0.5
    return InitLaw("uniform" if name == "kaiming_uniform_" else "normal", 0.0, float(std))


def build_real(build: Build, value: Any, *, seed: int) -> tuple[nn.Module, dict[str, InitLaw | None]]:
    """Build on the CPU under a forked random state; returns the model and the recorded laws by name."""
    recorder = _InitRecorder()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), recorder:
        torch.random.default_generator.manual_seed(seed)
        model = build(value)
    laws = {name: recorder.laws.get(tensor.untyped_storage()._cdata) for name, tensor in named_tensors(model).items()}
    return model, laws


def measure_init(build: Build, base: Any, *, num_bytes: int) -> tuple[nn.Module, dict[str, InitLaw]]:
    """The law of every tensor of the base, and the base itself.

    Args:
        build: The user's callable.
        base: Size of the base.
        num_bytes: Size of its parameters, from the meta build.

    Returns:
        The real base on the CPU, and a law for each parameter name.

    Raises:
        PlanError: The base is larger than 2 GB.

    Accuracy: exact where one call filled the tensor; else the sample std, relative error (2 n)^(-1/2) for n
    entries pooled over layers.
    Source: limes, docs/parametrize.md.

    >>> measure_init(lambda width: nn.Linear(width, 4, bias=False), 16, num_bytes=256)[1]["weight"].kind
    'uniform'
    """
    if num_bytes > MAX_BASE_BYTES:
        raise PlanError(
            f"the base has {num_bytes / 1024**3:.1f} GB of parameters, more than the 2 GB that are built to "
            "measure its initialization; choose a smaller base or give init={pattern: (kind, mean, std)}"
        )
    model, recorded = build_real(build, base, seed=0)
    tensors = named_tensors(model)
    laws = {name: law for name, law in recorded.items() if law is not None and _agrees(tensors[name], law)}
    unknown = [name for name in tensors if name not in laws]
    if unknown:
        laws.update(_measured(build, base, tensors, unknown))
    return model, laws


def _agrees(tensor: Tensor, law: InitLaw) -> bool:
    """The entries do not contradict the recorded law: six standard errors, plus what one padded row takes."""
    rows = max(tensor.shape[0], 1) if tensor.dim() else 1
    flat = tensor.detach().flatten()
    values = flat[:: max(1, flat.numel() // _SAMPLE)].double()
    if law.kind == "constant":
        return bool((values - law.mean).abs().max() <= 1e-6 * max(1.0, abs(law.mean))) if values.numel() else True
    count = values.numel()
    if count < 2 or law.std == 0.0:
        return True
    std = float(values.std())
    zeros = int((values == 0).sum())
    if zeros > count / rows or (law.kind == "uniform" and float((values - law.mean).abs().max()) > 1.74 * law.std):
        return False
    return abs(std / law.std - 1) < 6 * (2 * count) ** -0.5 + 1.0 / rows


def _measured(build: Build, base: Any, tensors: Mapping[str, Tensor], unknown: Iterable[str]) -> dict[str, InitLaw]:
    again = named_tensors(build_real(build, base, seed=1)[0])
    pools: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name in unknown:
        pools.setdefault((template_of(name), tuple(tensors[name].shape)), []).append(name)
    laws = {}
    for names in pools.values():
        law = _pooled([tensors[name] for name in names], [again[name] for name in names])
        laws.update({name: law for name in names})
    return laws


def _pooled(first: list[Tensor], second: list[Tensor]) -> InitLaw:
    values = torch.cat([tensor.detach().double().flatten() for tensor in (*first, *second)])
    if values.numel() == 0 or bool((values == values[0]).all()):
        return InitLaw("constant", float(values[0]) if values.numel() else 0.0, 0.0)
    fixed = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    if fixed and not _looks_random(torch.cat([tensor.detach().double().flatten() for tensor in first])):
        return InitLaw("own", float(values.mean()), float(values.std()))
    mean, std = float(values.mean()), float(values.std())
    if abs(mean) < 6 * std / values.numel() ** 0.5:
        mean, std = 0.0, float(values.square().mean().sqrt())
    # A uniform law ends at sqrt(3) standard deviations, a normal one goes on.
    flat = float((values - mean).abs().max()) < 1.85 * std and values.numel() >= 32
    return InitLaw("uniform" if flat else "normal", mean, std)


def _looks_random(values: Tensor) -> bool:
    """Equal in two builds, yet drawn (from a generator that the model seeds itself) rather than laid out."""
    count = values.numel()
    if count < 32 or values.unique().numel() < 0.99 * count:
        return False
    unit = (values - values.mean()) / values.std()
    ordered = unit.sort().values
    grid = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    normal = 0.5 * (1 + torch.erf(ordered / 2**0.5))
    flat = ((ordered / 3**0.5 + 1) / 2).clamp(0, 1)
    distance = min(float((law - grid).abs().max()) for law in (normal, flat))
    neighbours = abs(float((unit[1:] * unit[:-1]).mean()))
    # Kolmogorov's distance and the lag-one correlation of independent draws, at a level of about 1e-4.
    return distance < 2.3 / count**0.5 and neighbours < 4.0 / count**0.5
