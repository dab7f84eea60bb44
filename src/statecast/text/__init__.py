"""Texts: documents as sequences of codes, one token a piece of a word."""
