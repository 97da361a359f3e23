"""Reading play logs: files to clean, deduplicated plays in Arrow record batches."""
