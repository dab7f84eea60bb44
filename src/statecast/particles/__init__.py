"""Particle physics: jets as sets and sequences of particles."""
