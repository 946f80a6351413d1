"""Labelled cases, and the quality of a model on them."""
