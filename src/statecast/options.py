"""What all options of a recipe have in common: they are frozen, unknown keys are refused, and `true` is no number."""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic_core import PydanticCustomError

MOST = 10**9
"""Of things that are counted: a larger number is a typing error."""
TRUTH = "truth"
"""Type of the error for `true` or `false` in place of a number or a text, whose context has the `key`."""


class Options(BaseModel):
    """A section of a recipe. Numbers are finite; `true` and `false` are accepted only where they are meant.

    newer  options that are written only where they differ from the default: a recipe of before there were any is written as it was
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    newer: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_choices_that_were_not_made(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        same = {key for key in self.newer if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in values.items() if key not in same}

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        for name, field in cls.model_fields.items():
            key = field.alias or name
            value = values.get(key) if isinstance(values, Mapping) else None
            if _holds_truth(value) and not _may_hold_truth(field.annotation):
                raise PydanticCustomError(TRUTH, "true and false are no numbers or texts. Give one.", {"key": key})
        return values


def _may_hold_truth(annotation: Any) -> bool:
    return any(
        kind in (bool, Any) or (isinstance(kind, type) and issubclass(kind, BaseModel)) for kind in _kinds(annotation)
    )


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that an annotation is made of."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType, tuple, list, dict):
        return set().union(*(_kinds(part) for part in get_args(annotation)))
    return {annotation}


def _holds_truth(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_truth, value.values()))
    return any(map(_holds_truth, value)) if isinstance(value, list | tuple) else isinstance(value, bool)
