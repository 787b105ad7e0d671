//! The documentation spirit. Its prompts follow.
