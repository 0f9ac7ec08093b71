"""Published instances solved again, and what others report of them put to the test."""
