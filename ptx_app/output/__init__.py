"""What is shown or exported: overlay, pictures, files. Made from a Finding, never from what is on the screen."""
