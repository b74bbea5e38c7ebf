"""What a prescription misses, counted on maps whose labels are known."""
