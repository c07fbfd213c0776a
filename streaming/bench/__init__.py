"""How fast this machine is, stage by stage."""
