//! How much a folder takes on disk.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes of one block, as the file system counts them for everybody.
const BLOCK: u64 = 512;

/// Counts what folders take. A file with several names counts once, for the first folder that is asked about.
#[derive(Debug, Default)]
pub struct Usage {
    seen: HashSet<(u64, u64)>,
}

impl Usage {
    /// What `path` and everything below takes on disk, in bytes; nothing when it is not there. Links are not followed,
    /// what cannot be read counts as nothing. Blocking.
    pub fn of(&mut self, path: &Path) -> u64 {
        let (mut bytes, mut pending): (u64, Vec<PathBuf>) = (0, vec![path.to_owned()]);
        while let Some(path) = pending.pop() {
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            // Only what has several names can come again.
            if found.is_dir() || found.nlink() == 1 || self.seen.insert((found.dev(), found.ino())) {
                bytes += found.blocks() * BLOCK;
            }
            if found.is_dir() {
                pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once_and_a_link_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        fs::write(one.join("a"), vec![7_u8; 100_000]).unwrap();
        let alone = Usage::default().of(&one);
        assert!(alone >= 100_000, "{alone}");
        fs::hard_link(one.join("a"), two.join("b")).unwrap();
        std::os::unix::fs::symlink(&one, two.join("link")).unwrap();
        let mut usage = Usage::default();
        assert_eq!(usage.of(&one), alone);
        assert!(usage.of(&two) < 50_000);
        assert!(Usage::default().of(&two) >= 100_000);
        assert_eq!(usage.of(&dir.path().join("nothing")), 0);
    }
}
