"""Pages: attempted in the log before they are attempted in the world."""
