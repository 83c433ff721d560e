"""Which tensor of the base a tensor of the target corresponds to, when lists of layers have other lengths.

A list of equal blocks matches by the nearest index. A list whose entries play different parts (a stem, hidden
layers and a head in one nn.Sequential) matches from both ends, and the entries in between by what they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from limes.core.errors import PlanError
from limes.parametrize.sizes import Shapes
from limes.parametrize.structure import TensorUse


@dataclass(slots=True)
class Alignment:
    """Correspondence of names.

    Args:
        base: Shapes of the base by name.
        target: The same of the target.
        uses: What each tensor of the base does.
    """

    base: Shapes
    target: Shapes
    uses: Mapping[str, TensorUse]
    _lists: tuple[dict[str, list[int]], dict[str, list[int]]] = field(init=False)
    _mixed: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lists = (_index_lists(self.base), _index_lists(self.target))

    def match(self, name: str) -> str:
        """The base's name for a tensor of the target.

        Raises:
            PlanError: The base has no such tensor, or its list is too short to tell.
        """
        parts, mapped = name.split("."), list[str]()
        for position, part in enumerate(parts):
            if part.isdigit():
                lists = self._lists[0].get(".".join(mapped)), self._lists[1][".".join(parts[:position])]
                part = str(self._index(name, ".".join(mapped), parts[position:], *lists))
            mapped.append(part)
        result = ".".join(mapped)
        if result not in self.base:
            raise PlanError(
                f"the target has a tensor {name} that the base has not; base and target must differ in sizes only, so "
                "give the base the same parts (biases, tying, heads, kinds of layers)"
            )
        return result

    def _index(self, name: str, prefix: str, rest: list[str], base: list[int] | None, target: list[int]) -> int:
        index = int(rest[0])
        if not base or base == target:
            return index
        if not self._is_mixed(prefix, base):
            return min(base, key=lambda other: abs(other - index))
        position = target.index(index)
        if position in (0, len(target) - 1):
            return base[0] if position == 0 else base[-1]
        suffix, ndim = ".".join(rest[1:]), len(self.target[name])
        candidates = [other for other in base[1:-1] if len(self.base.get(_join(prefix, other, suffix), ())) == ndim]
        if not candidates:
            raise PlanError(
                f"{name} lies between the first and the last entry of {prefix or 'the model'!r}, whose entries play "
                "different parts, and the base has none like it; give the base at least one layer in between"
            )
        return min(candidates, key=lambda other: abs(base.index(other) - position))

    def _is_mixed(self, prefix: str, indices: list[int]) -> bool:
        """Entries of the list play different parts."""
        if prefix not in self._mixed:
            signatures: dict[str, set[tuple[object, ...]]] = {}
            start = f"{prefix}." if prefix else ""
            for name, use in self.uses.items():
                head, _, suffix = name[len(start) :].partition(".")
                if name.startswith(start) and head.isdigit() and int(head) in indices:
                    part = (len(use.labels), use.is_matrix, use.at_output, use.in_branch, use.ends_branch)
                    signatures.setdefault(suffix, set()).add(part)
            self._mixed[prefix] = any(len(found) > 1 for found in signatures.values())
        return self._mixed[prefix]


def _join(prefix: str, index: int, suffix: str) -> str:
    return ".".join(part for part in (prefix, str(index), suffix) if part)


def _index_lists(names: Shapes) -> dict[str, list[int]]:
    lists: dict[str, set[int]] = {}
    for name in names:
        parts = name.split(".")
        for position, part in enumerate(parts):
            if part.isdigit():
                lists.setdefault(".".join(parts[:position]), set()).add(int(part))
    return {prefix: sorted(indices) for prefix, indices in lists.items()}
