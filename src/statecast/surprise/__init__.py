"""How surprising each token of a sample is to a model, given the others; no domain is known here."""
