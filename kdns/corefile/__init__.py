"""The Corefile language: text to blocks with places, and errors that name them."""
