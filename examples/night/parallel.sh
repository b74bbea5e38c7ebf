#!/bin/sh
# GNU parallel, two rasters at a time, each a run of its own. The same command goes on after a stop.
set -eu
parallel --jobs 2 --joblog maps.log --resume-failed \
    agriseg run {} -m weeds.safetensors -o "maps/{/.}" --quiet ::: flights/*.tif
