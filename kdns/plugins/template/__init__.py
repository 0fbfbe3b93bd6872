"""*template*: answers made of texts with holes in them."""
