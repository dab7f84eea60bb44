"""Answers of a trained model about jets: labels, and new jets."""
