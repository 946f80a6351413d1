"""Facts and helpers that every other room may use: standard library and numpy only."""
