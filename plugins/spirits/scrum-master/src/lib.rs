//! The scrum-master spirit. Its prompts follow.
