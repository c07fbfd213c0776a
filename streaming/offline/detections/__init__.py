"""Keep of the detections of one recording what is written about it: embeddings, a picture."""
