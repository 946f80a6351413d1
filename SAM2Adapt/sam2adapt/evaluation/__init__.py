"""Labelled cases, and how well a model does on them."""
