"""Streams of several domains in one window, such as fields and text, joined by what each calls its samples: a time, a number."""
