"""Streams of fields: their options."""

import pytest
from pydantic import ValidationError

from statecast.fields.streams import Channel, Stream


def test_a_channel_is_written_with_its_level():
    assert str(Channel("t", 850.0)) == "t@850"
    assert str(Channel("msl", None)) == "msl"


@pytest.mark.parametrize("repeated", [{"variables": ("t", "t")}, {"variables": ("t",), "levels": (500, 500)}])
def test_a_name_given_twice_is_refused(repeated):
    with pytest.raises(ValidationError, match=r"are named twice: .* Name each once"):
        Stream(**repeated)


@pytest.mark.parametrize(
    "wrong", [{"variables": ()}, {"variables": ("t",), "patch": (3, 0, 9)}, {"variables": ("t",), "level": (500,)}]
)
def test_a_stream_without_variables_an_empty_patch_and_an_unknown_key_are_refused(wrong):
    with pytest.raises(ValidationError):
        Stream(**wrong)


def test_a_stream_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Stream(variables=("t",)).patch = (1, 1, 1)
