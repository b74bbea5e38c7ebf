"""What a grower reads: hectares, pictures."""
