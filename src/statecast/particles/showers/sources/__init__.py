"""Files of showers: their layout, a simulator, and what is in them."""
