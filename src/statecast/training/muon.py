"""AdamW with orthogonal steps for some matrices. Axes: L matrices of one shape, I and O sizes of a matrix, I ≤ O."""

from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate
from torch.optim import AdamW

COEFFICIENTS = (  # of five quintic iterations: singular values above 0.003 end near 1; Cesista, Jiacheng & Jordan 2025
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
MOMENTUM = 0.95
STACKED_VALUES = 2**26  # total size of the matrices that are updated at once: the iterations need six times that memory
SIZE = 0.2  # root mean square of the entries of an AdamW step, in units of its learning rate; Liu et al. 2025


class Muon(AdamW):
    """Muon for the matrices of the groups with `orthogonal: True`, AdamW for the rest; the kernel of a convolution counts as a matrix.

        m ← β m + (1 - β) g,        step = 0.2 sqrt(max(I, O)) UVᵀ   with   U S Vᵀ = β m + (1 - β) g

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", scaled as in Liu et al. 2025, "Muon is scalable for
    LLM training", so that a step is as large as one of AdamW at the same learning rate. UVᵀ comes from Newton-Schulz iterations.

    torch.optim.Muon uses the same rule, but iterates matrix by matrix and in bfloat16, which many CPUs emulate. Unlike there, a matrix
    whose gradient is 0, for example because a step does not ask for its stream, does not change: the UVᵀ of what remains of old gradients
    would be as large as any other.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            if group["orthogonal"]:
                self._orthogonal_step(group)
        super().step()
        return loss

    def _orthogonal_step(self, group: dict[str, Any]) -> None:
        """Updates all matrices of a group and removes their gradients, so that AdamW skips them."""
        alike: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike[tuple(sorted(_shape(parameter)))].append(parameter)
        for shape, parameters in alike.items():
            at_once = max(1, STACKED_VALUES // prod(shape))
            for first in range(0, len(parameters), at_once):
                self._step_alike(parameters[first : first + at_once], SIZE * max(shape) ** 0.5, group)

    def _step_alike(self, parameters: list[nn.Parameter], size: float, group: dict[str, Any]) -> None:
        """Updates stacked matrices of one shape."""
        have_gradient = []
        momenta = []
        for parameter in parameters:
            have_gradient.append(_whole(torch.linalg.vector_norm(parameter.grad)) > 0)  # before gradients are smoothed
            momenta.append(_lying(_whole(self._momentum(parameter))))
        directions = orthogonalised(torch.stack(momenta))
        for parameter, has_gradient, direction in zip(parameters, have_gradient, directions, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"] * has_gradient)
            step = has_gradient * (direction if _lies(parameter) else direction.T).reshape(parameter.shape)
            parameter.add_(_shared_like(step.to(parameter.dtype), parameter), alpha=-group["lr"] * size)
            parameter.grad = None

    def _momentum(self, parameter: nn.Parameter) -> Tensor:
        """The gradient, smoothed (Nesterov)."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter.grad)
            state["step"] = torch.zeros(())  # AdamW expects this entry when it loads its state
        state["step"] += 1
        state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MOMENTUM)


def orthogonalised(matrices: Float[Tensor, "L I O"]) -> Float[Tensor, "L I O"]:
    """Each matrix with its singular values moved to about 1; 0 stays 0.

    An iteration X ← p(G) X, with p(G) = a + b G + c G² and G = X Xᵀ, turns G into p(G) G p(G). Only I × I matrices are therefore iterated,
    and the product of several p(G) is applied to the matrix once. G contains squared singular values and accumulates errors, so it is at
    least float32 and is recomputed halfway.
    """
    x = matrices.to(torch.promote_types(matrices.dtype, torch.float32))
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    for first, *others in (COEFFICIENTS[:2], COEFFICIENTS[2:]):
        gram = x @ x.mT
        product = factor = _polynomial(gram, *first)
        for coefficients in others:
            gram = factor @ gram @ factor
            factor = _polynomial(gram, *coefficients)
            product = factor @ product
        x = product @ x
    return x


def _polynomial(gram: Float[Tensor, "L I I"], a: float, b: float, c: float) -> Float[Tensor, "L I I"]:
    """a + b G + c G²."""
    polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
    return polynomial


def _shape(parameter: Tensor) -> tuple[int, int]:
    """Shape of the parameter as a matrix: outputs, and the product of all other sizes."""
    return parameter.shape[0], parameter.numel() // parameter.shape[0]


def _lies(parameter: Tensor) -> bool:
    rows, columns = _shape(parameter)
    return rows <= columns


def _lying(tensor: Tensor) -> Tensor:
    matrix = tensor.flatten(1)
    return matrix if _lies(matrix) else matrix.T


def _whole(tensor: Tensor) -> Tensor:
    """The full tensor, if it is sharded over processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _shared_like(whole: Tensor, parameter: Tensor) -> Tensor:
    """If the parameter is sharded, this process's part of a tensor that all processes have."""
    if not isinstance(parameter, DTensor):
        return whole
    mesh = parameter.device_mesh
    everywhere = DTensor.from_local(whole.contiguous(), mesh, [Replicate()] * mesh.ndim, run_check=False)
    return everywhere.redistribute(mesh, parameter.placements)
