"""How good models of jets, and their codebooks, are."""
