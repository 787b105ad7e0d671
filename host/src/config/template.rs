//! What `init` writes: every setting with its default, commented out.

/// The text. Lines with `# ` explain; lines with `#` and no space are settings.
pub const TEMPLATE: &str = include_str!("necro.toml");
