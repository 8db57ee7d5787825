"""What a linear map would return with other weights than its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def project(module: nn.Module, inputs: Tensor, weight: Tensor) -> Tensor:
    """What a linear map would return with another weight (GPT-2 keeps its own transposed)."""
    weight, bias = weight.to(inputs.dtype), getattr(module, "bias", None)
    if isinstance(module, nn.Linear):
        return nn.functional.linear(inputs, weight, bias)
    flat = inputs.reshape(-1, inputs.shape[-1])
    out = flat @ weight if bias is None else torch.addmm(bias, flat, weight)
    return out.view(*inputs.shape[:-1], weight.shape[-1])


def project_each(module: nn.Module, inputs: Tensor, weights: Tensor) -> Tensor:
    """What a linear map returns for rows with weights of their own.

    inputs: [models x rows, tokens, in]. weights: [models, ...], each as the module stores its own.
    """
    if len(weights) == 1:
        return project(module, inputs, weights.squeeze(0))
    rows, weights = inputs.reshape(len(weights), -1, inputs.shape[-1]), weights.to(inputs.dtype)
    # Either way the gradient comes out as the weights are stored.
    out = torch.bmm(weights, rows.mT).mT if isinstance(module, nn.Linear) else torch.bmm(rows, weights)
    bias: Tensor | None = getattr(module, "bias", None)
    return (out if bias is None else out + bias).reshape(*inputs.shape[:-1], out.shape[-1])
