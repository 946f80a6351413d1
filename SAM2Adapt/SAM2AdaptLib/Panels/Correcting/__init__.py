"""The Segment Editor effect that corrects segments by clicks."""
