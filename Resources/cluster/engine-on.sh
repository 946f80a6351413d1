#!/bin/sh
# Slicer's engine on a node of a SLURM cluster, as a command under "Engine on" (on the cluster's login node, or after
# ssh in front of it): ssh cluster /path/engine-on.sh
# It holds the node until Slicer ends or the time is over.
exec srun --quiet --gpus=1 --cpus-per-task=8 --mem=32G --time=08:00:00 --unbuffered sam2adapt serve --stream
