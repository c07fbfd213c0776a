"""Keep files that stay open for months: their places, sizes, times and soundness."""
