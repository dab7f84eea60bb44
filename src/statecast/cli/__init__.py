"""The command line, thin: a command parses its options, calls one function and tells what came out."""

from statecast.cli.app import main

__all__ = ["main"]
