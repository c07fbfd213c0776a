"""The classes of AudioSet, and models that learn them from models of others."""
