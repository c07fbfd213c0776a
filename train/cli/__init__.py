"""The commands prepare, train, evaluate, predict and plot."""
