"""Showers in a calorimeter: voxels of a fixed geometry, generated from the incident energy."""
