"""Benchmarks of language models: questions with choices, texts beside references, perplexity."""
