"""Stations and satellites: reports at points, as streams beside fields."""
