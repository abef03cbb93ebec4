"""From counted facts to a verdict that says what it rests on."""
