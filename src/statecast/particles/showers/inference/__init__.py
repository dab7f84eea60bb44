"""What a model of showers does: draw new ones."""
