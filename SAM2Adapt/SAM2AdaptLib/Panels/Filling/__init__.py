"""The Segment Editor effect that fills the slices between drawn ones."""
