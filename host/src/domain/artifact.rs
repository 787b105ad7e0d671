//! What an artifact may be called and how large it may be.

use super::id::{ArtifactUri, Digest};
use super::task::ArtifactRef;

/// Largest artifact, in bytes.
pub const MAX_ARTIFACT_BYTES: u64 = 64 * 1024 * 1024;
/// Longest file name and media type, in bytes.
pub const MAX_NAME_BYTES: usize = 200;
/// The kinds that the registry knows by name. Others are allowed.
pub const KINDS: [&str; 4] = ["diff", "log", "test", "binary"];

/// Why something cannot be an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArtifact {
    /// The kind is not 1 to 40 of `a-z`, `0-9`, `-`.
    #[error("`{0}` is not an artifact kind: use diff, log, test, binary, or another name of a-z, 0-9 and `-`")]
    Kind(String),
    /// The name is empty, too long, or has a path separator or control characters.
    #[error("`{0}` is not an artifact name: it must be a plain file name of 1 to 200 bytes")]
    Name(String),
    /// Not `type/subtype`.
    #[error("`{0}` is not a media type such as text/plain")]
    MediaType(String),
    /// More than [`MAX_ARTIFACT_BYTES`].
    #[error("{size_bytes} bytes are over the limit of {limit_bytes} for one artifact")]
    TooLarge {
        /// Size of the bytes.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
}

/// Checks what an artifact will be called, before its bytes are stored.
///
/// # Errors
/// [`InvalidArtifact`] names the rule that is broken.
pub fn check(kind: &str, name: &str, media_type: &str, size_bytes: u64) -> Result<(), InvalidArtifact> {
    let cut = |text: &str| text.chars().take(100).collect::<String>();
    let kind_fits = (1..=40).contains(&kind.len())
        && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !kind_fits {
        return Err(InvalidArtifact::Kind(cut(kind)));
    }
    let name_fits = (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
        && !matches!(name, "." | "..");
    if !name_fits {
        return Err(InvalidArtifact::Name(cut(name)));
    }
    let media_fits = media_type.len() <= MAX_NAME_BYTES
        && media_type.bytes().all(|b| (0x20..0x7f).contains(&b))
        && media_type.split_once('/').is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty());
    if !media_fits {
        return Err(InvalidArtifact::MediaType(cut(media_type)));
    }
    if size_bytes > MAX_ARTIFACT_BYTES {
        return Err(InvalidArtifact::TooLarge { size_bytes, limit_bytes: MAX_ARTIFACT_BYTES });
    }
    Ok(())
}

/// The reference that goes on a task, after [`check`] and after the bytes are stored. Its time has
/// microseconds, as everything that the registry keeps.
#[must_use]
pub fn reference(
    uri: &ArtifactUri,
    (kind, name, media_type): (&str, &str, &str),
    (digest, size_bytes): (Digest, u64),
    created_at: jiff::Timestamp,
) -> ArtifactRef {
    ArtifactRef {
        uri: uri.to_string(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        media_type: media_type.to_owned(),
        size_bytes,
        digest,
        created_at: jiff::Timestamp::from_microsecond(created_at.as_microsecond()).unwrap_or(created_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for bad in ["", "a/b", "..", "a\\b", "a\nb"] {
            assert!(matches!(check("log", bad, "text/plain", 1), Err(InvalidArtifact::Name(_))), "{bad:?}");
        }
        assert_eq!(check("log", "出力.txt", "text/plain; charset=utf-8", 0), Ok(()));
    }

    #[test]
    fn kinds_media_types_and_sizes_are_bounded() {
        assert!(matches!(check("A kind", "a", "text/plain", 1), Err(InvalidArtifact::Kind(_))));
        assert!(matches!(check("log", "a", "text", 1), Err(InvalidArtifact::MediaType(_))));
        assert!(matches!(
            check("log", "a", "text/plain", MAX_ARTIFACT_BYTES + 1),
            Err(InvalidArtifact::TooLarge { .. })
        ));
        assert!(KINDS.iter().all(|kind| check(kind, "a", "a/b", MAX_ARTIFACT_BYTES).is_ok()));
    }
}
