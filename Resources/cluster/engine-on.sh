#!/bin/sh
# Slicer's engine on a node of a SLURM cluster. Under "Engine on", choose "A command" and write the path of this file, or,
# if Slicer does not run on the cluster's login node: ssh cluster /path/engine-on.sh
# It holds the node until Slicer ends or the time is over.
exec srun --quiet --gpus=1 --cpus-per-task=8 --mem=32G --time=08:00:00 --unbuffered sam2adapt serve --stream
