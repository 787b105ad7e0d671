//! The qa spirit. Its prompts follow.
