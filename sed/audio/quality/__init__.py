"""Notice what is odd about a recording and no damage."""
