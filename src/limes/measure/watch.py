"""Signs of one forward pass, taken by hooks while it runs: nothing is kept but a number per layer and sign.

Source: limes, docs/diagnostics.md.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from limes.measure.activations import main_tensor
from limes.measure.attention_calls import AttentionCall, AttentionCalls
from limes.measure.attention_entropy import attention_statistics
from limes.measure.features import dead_units, effective_rank, rank_residual, token_similarity
from limes.measure.outliers import kurtosis, max_median_ratio
from limes.measure.outputs import output_statistics
from limes.measure.quantization import quantization_error
from limes.measure.roles import matrix_modules

Signs = dict[str, list[Tensor]]
# Directions that random features of a layer must use for its rank to be judged.
MIN_NULL_RANK = 2.0


class ForwardWatch:
    """Hooks on a model that turn what passes through into signs.

    Seen are passes of the whole model, with gradients switched on or inside `watching`; a validation pass under
    `torch.no_grad` is not. Recomputation of checkpointed blocks is not seen either, because the model is not called.

    Attributes:
        signs: "sign/path" -> one scalar per call.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        max_sequences: int = 8,
        max_rows: int = 256,
        logits: bool = True,
        quantization: bool = False,
    ) -> None:
        """Hooks are attached by `attach`.

        Args:
            model: Not compiled.
            max_sequences: Samples of a batch that are looked at, the first ones.
            max_rows: Tokens that enter a rank, evenly spaced.
            logits: The output's last axis are classes.
            quantization: Also what 8 bits do to the features that enter a layer.
        """
        self.model, self.max_sequences, self.max_rows, self.logits = model, max_sequences, max_rows, logits
        self.quantization = quantization
        self.signs: Signs = {}
        self._handles: list[Any] = []
        self._path: list[str] = []
        # The next layer takes what attention has mixed: under uniform attention its tokens are healthily alike.
        self._mixed = False
        self._mode: AttentionCalls | None = None
        self._always = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hooks inside; every pass counts, with or without gradients."""
        self.attach()
        self._always = True
        try:
            yield
        finally:
            self._always = False
            self.detach()

    def attach(self) -> None:
        """Put the hooks on; what was seen before is forgotten."""
        self.detach()
        self.signs = {}
        hidden = dict(matrix_modules(self.model))
        for path, module in self.model.named_modules():
            if path in hidden:
                self._handles.append(module.register_forward_hook(self._layer_hook(path, module)))
            elif path and list(module.children()):
                self._handles += self._stack_hooks(path, module)
        self._handles.append(self.model.register_forward_pre_hook(self._begin))
        self._handles.append(self.model.register_forward_hook(self._end, always_call=True))

    def detach(self) -> None:
        """Take every hook off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._leave()

    def take(self) -> dict[str, float]:
        """The mean over calls of every sign; then they are forgotten."""
        found, self.signs = self.signs, {}
        if not found:
            return {}
        place = next(iter(found.values()))[0].device
        # One transfer from an accelerator instead of one for each number.
        flat = torch.stack([value.double().to(place) for values in found.values() for value in values]).tolist()
        numbers = iter(flat)
        return {name: sum(next(numbers) for _ in values) / len(values) for name, values in found.items()}

    def _begin(self, module: nn.Module, args: Any) -> None:
        if self._mode is None and (self._always or torch.is_grad_enabled()):
            self._path, self._mixed = [""], False
            self._mode = AttentionCalls(self._attention, max_sequences=self.max_sequences)
            self._mode.__enter__()

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        watched = self._mode is not None
        self._leave()
        result = main_tensor(output)
        if watched and self.logits and result is not None and result.dim() > 1 and result.shape[-1] > 1:
            self._keep("", output_statistics(result[: self.max_sequences]))

    def _leave(self) -> None:
        if self._mode is not None:
            mode, self._mode = self._mode, None
            mode.__exit__(None, None, None)

    def _stack_hooks(self, path: str, module: nn.Module) -> list[Any]:
        def enter(module: nn.Module, args: Any) -> None:
            self._path.append(path)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if self._path and self._path[-1] == path:
                self._path.pop()

        return [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]

    def _layer_hook(self, path: str, module: nn.Module) -> Any:
        is_image = any(parameter.dim() > 2 for parameter in module.parameters(recurse=False))

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if self._mode is None or not args:
                return
            entering, leaving = main_tensor(args[0]), main_tensor(output)
            if entering is None or leaving is None or entering.dim() < 2:
                return
            mixed, self._mixed = self._mixed, False
            with torch.no_grad():
                self._keep(path, self._layer_signs(entering, leaving, is_image=is_image, mixed=mixed))

        return hook

    def _layer_signs(self, entering: Tensor, leaving: Tensor, *, is_image: bool, mixed: bool) -> dict[str, Tensor]:
        x, y = (tensor.detach()[: self.max_sequences] for tensor in (entering, leaving))
        if is_image and x.dim() > 2:
            x = x.movedim(1, -1).flatten(1, -2)
        x = x if x.dtype == torch.float64 else x.float()
        rows = x.flatten(0, -2)
        rows = rows[:: -(-len(rows) // self.max_rows)]
        found = {
            "preactivation_rms": y.double().square().mean().sqrt(),
            "kurtosis": kurtosis(x),
            "max_median_ratio": max_median_ratio(x),
            "dead_units": dead_units(x),
        }
        if not mixed:
            rank = found["effective_rank"] = effective_rank(rows, kind="participation")
            null = rows.shape[0] * rows.shape[1] / (rows.shape[0] + rows.shape[1])
            # With so few samples or features one direction is no sign of anything.
            if null >= MIN_NULL_RANK:
                found["rank_share"] = rank.clamp_min(1.0).log() / math.log(null)
        if self.quantization:
            found |= {"int8_error": quantization_error(x, "int8"), "fp8_error": quantization_error(x, "fp8_e4m3")}
        if x.dim() == 3 and x.shape[1] > 1 and not mixed:
            found |= {"token_similarity": token_similarity(x), "rank_residual": rank_residual(x)}
        return found

    def _attention(self, call: AttentionCall) -> None:
        self._mixed = not call.projected
        if call.logits.shape[-1] < 2:
            return
        found = attention_statistics(call.logits, query=call.query, key=call.key)
        self._keep(self._path[-1], {_ATTENTION.get(name, name): value for name, value in found.items()})

    def _keep(self, path: str, found: dict[str, Tensor]) -> None:
        for name, value in found.items():
            self.signs.setdefault(f"{name}/{path}" if path else name, []).append(value)


_ATTENTION = {
    "entropy": "attention_entropy",
    "entropy_lowest_head": "attention_entropy_lowest_head",
    "entropy_bound": "attention_entropy_bound",
    "max_logit": "max_attention_logit",
}
