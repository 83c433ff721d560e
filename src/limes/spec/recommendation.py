"""Read back the settings that `limes transfer` recommends or `limes plan --json` prints. Loads no torch."""

import json
from pathlib import Path

from pydantic import ValidationError

from limes.core.errors import SpecError
from limes.spec.run import TensorSettings


def load_recommendation(path: Path | str) -> dict[str, TensorSettings]:
    """Settings by parameter name, from `verdict.json` or from the output of `limes plan --json`.

    `limes.parametrize.init_tensors_`, `attach_multipliers` and `group_parameters` take them.

    Raises:
        SpecError: The file cannot be read, or holds no recommendation.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read as JSON ({error}); give verdict.json of a study") from None
    found = content.get("recommendation", content) if isinstance(content, dict) else None
    tensors = found.get("tensors") if isinstance(found, dict) else None
    if not isinstance(tensors, list):
        raise SpecError(f"{path}: holds no recommendation; its study trained none of what it was to recommend")
    fields = TensorSettings.model_fields.keys()
    try:
        return {
            row["name"]: TensorSettings.model_validate({name: row[name] for name in fields if name in row})
            for row in tensors
        }
    except (KeyError, TypeError, ValidationError) as error:
        raise SpecError(f"{path}: a tensor of the recommendation is damaged ({type(error).__name__})") from None
