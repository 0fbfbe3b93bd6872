"""What all plugins share: Request, Answer, stamps, the chain, and failures that know their rcode."""
