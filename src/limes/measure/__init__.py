"""Diagnostics: (model, batch) -> numbers. They work on any `nn.Module` and import no model of ours."""
