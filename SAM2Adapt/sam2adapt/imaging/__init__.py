"""Images and label maps on disk: what their headers say, their voxels, and the names of their labels."""
