"""Decoders of sound files, containers and streams of samples."""
