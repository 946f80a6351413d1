"""What the drawn slices say about the others, before anything is learnt from them."""
