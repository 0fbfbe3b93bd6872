"""What ``kdns check`` finds out about a Corefile without serving it: faults, surprises, differences from CoreDNS."""
