#!/bin/sh
# GNU parallel, two rasters at a time, each a separate run. After a stop, the same command resumes.
set -eu
parallel --jobs 2 --joblog maps.log --resume-failed \
    agriseg run {} -m weeds.safetensors -o "maps/{/.}" --quiet ::: flights/*.tif
