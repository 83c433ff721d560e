"""Training dtypes by the names that a spec uses. Theory, numerics and laws are float64 always."""

import torch

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
