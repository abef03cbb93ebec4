"""What must hold in every store: one question a file, whose answer is every exception."""
