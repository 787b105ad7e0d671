//! The frontend spirit. Its prompts follow.
