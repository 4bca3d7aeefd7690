"""What is taken away or shown: overlay, pictures, files. Made from a Finding, never from what is on the screen."""
