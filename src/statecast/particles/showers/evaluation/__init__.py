"""How near generated showers are to true ones."""
