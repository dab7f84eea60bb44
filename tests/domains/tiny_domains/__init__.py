"""Two tiny domains that no line of the core knows: a set (points on a plane) and a sequence (a Markov chain)."""
