//! The database spirit. Its prompts follow.
