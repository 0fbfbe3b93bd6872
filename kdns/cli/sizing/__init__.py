"""How many replicas a cluster needs, and what each of them needs: the arithmetic behind ``kdns plan``."""
