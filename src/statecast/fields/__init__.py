"""Weather and climate: gridded fields in space and time as tokens, and the questions that are asked of them."""
