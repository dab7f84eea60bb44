"""A device that is not the CPU, for machines without a GPU: its tensors hold CPU tensors, and refuse what a GPU would refuse.

Its numbers are those of the CPU. Refused are operations of tensors on both devices (a CPU tensor of one number, and CPU indices, are taken, as
on a GPU), a CPU generator for numbers on the device, and `.numpy()` without `.cpu()` before it. It rests on torch's `PrivateUse1` backend in
Python, which is experimental.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "elsewhere"
COPIES = ("aten._to_copy.default", "aten.copy_.default")
INDEXING = ("aten.index.Tensor", "aten.index_put_.default", "aten.index_put.default", "aten._index_put_impl_.default")


class DeviceMismatch(RuntimeError):
    """An operation that a GPU would refuse."""


class Backend:
    """What torch asks of the module of a device."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Numbers are drawn by the CPU's generator."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def is_here(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


class Elsewhere(torch.Tensor):
    """A tensor on the device; `held` is the CPU tensor with its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Elsewhere":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError("used outside `emulated`")


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the CPU tensors that its arguments hold; its results lie where a GPU would leave them."""
    name, tensors = str(func), [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    held_there = any(isinstance(x, Elsewhere) for x in tensors)
    target = kwargs.get("device")
    if name not in COPIES and held_there:
        require_one_device(name, args, tensors)
    results_there = is_here(target) if target is not None else held_there
    if name == "aten.copy_.default":
        results_there = isinstance(args[0], Elsewhere)
    if results_there and (generator := kwargs.get("generator")) is not None and generator.device.type == "cpu":
        raise DeviceMismatch(f"{name}: expected a generator of the device, got one of the CPU.")
    on_cpu = pytree.tree_map(lambda x: x.held if isinstance(x, Elsewhere) else x, (args, kwargs))
    if is_here(target):
        on_cpu[1]["device"] = torch.device("cpu")
    if name == "aten._to_copy.default":
        on_cpu[1].pop("non_blocking", None)
    found = func(*on_cpu[0], **on_cpu[1])
    if not results_there or name == "aten._local_scalar_dense.default":
        return found
    wrapped = pytree.tree_map(lambda x: Elsewhere(x) if isinstance(x, torch.Tensor) else x, found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def require_one_device(name: str, args: Any, tensors: list[torch.Tensor]) -> None:
    if name in INDEXING and isinstance(args[0], Elsewhere):
        tensors = [x for x in pytree.tree_leaves((args[0], args[2:])) if isinstance(x, torch.Tensor)]
    strays = [x for x in tensors if not isinstance(x, Elsewhere) and x.ndim]
    if strays:
        raise DeviceMismatch(f"{name}: tensors on the device and on the CPU, of shape {tuple(strays[0].shape)}.")


class Emulator(TorchDispatchMode):
    """Runs every operation of torch; those that consist of others, in inference mode, as these."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:
            found = func.decompose(*args, **(kwargs or {}))
        return run(func, args, kwargs or {}) if found is NotImplemented else found


@contextmanager
def emulated() -> Iterator[str]:
    """The name of the device, on which tensors can be made meanwhile. That it exists stays with the process.

    Raises ImportError with a torch that has no backends in Python.
    """
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    if torch._C._get_privateuse1_backend_name() != NAME:
        _setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter can't change its class in place
    try:
        with (
            Emulator(),
            torch.autograd.set_multithreading_enabled(False),
        ):  # backward passes before had no thread for it
            yield NAME
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
