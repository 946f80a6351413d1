"""Pages (HTML) that show results: one of a case, and a gallery of a batch for quality control."""
