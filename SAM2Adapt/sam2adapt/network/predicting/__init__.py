"""The network in the form that predicts: merged, fused and prepared."""
