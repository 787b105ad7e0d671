//! Every edit of a person that can fall between reading and replacing.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const WAYS: [Way; 2] = [Way::Exchange, Way::Compare];

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(text: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(place.file(), text).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("tasks.md")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// As an editor that writes into the file, and one that replaces it.
    fn write(&self, text: &str, by_rename: bool) {
        if by_rename {
            let other = self.folder.path().join("editor");
            fs::write(&other, text).unwrap();
            fs::rename(other, self.file()).unwrap();
        } else {
            fs::write(self.file(), text).unwrap();
        }
    }

    /// Names beside the file.
    fn others(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "tasks.md").collect()
    }
}

/// Our change: `a` becomes `b`.
fn ours(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| if *byte == b'a' { b'b' } else { *byte }).collect()
}

#[test]
fn a_file_is_replaced_whole_with_its_permissions() {
    for way in WAYS {
        let place = Place::new("a1");
        fs::set_permissions(place.file(), Permissions::from_mode(0o640)).unwrap();
        let done = edit_by(way, &place.file(), |bytes| Ok::<_, Infallible>(Some(ours(bytes)))).unwrap();
        assert_eq!(done, Outcome { bytes: b"b1".to_vec(), written: true });
        assert_eq!((place.text().as_str(), place.others().len()), ("b1", 0));
        assert_eq!(place.file().metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }
}

#[test]
fn what_stays_the_same_is_not_touched() {
    for new in [None, Some(b"a1".to_vec())] {
        let place = Place::new("a1");
        let before = place.file().metadata().unwrap();
        let done = edit(&place.file(), |_| Ok::<_, Infallible>(new.clone())).unwrap();
        assert!(!done.written);
        let after = place.file().metadata().unwrap();
        assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    }
}

#[test]
fn a_link_stays_a_link() {
    let place = Place::new("a1");
    let link = place.folder.path().join("link.md");
    std::os::unix::fs::symlink("tasks.md", &link).unwrap();
    edit(&link, |bytes| Ok::<_, Infallible>(Some(ours(bytes)))).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(place.text(), "b1");
}

#[test]
fn an_edit_between_reading_and_replacing_is_taken_into_account() {
    for way in WAYS {
        for by_rename in [false, true] {
            let place = Place::new("a1");
            let mut seen = Vec::new();
            let done = edit_by(way, &place.file(), |bytes| {
                seen.push(String::from_utf8(bytes.to_vec()).unwrap());
                if seen.len() <= 2 {
                    place.write(&format!("a{}", seen.len() + 1), by_rename);
                }
                Ok::<_, Infallible>(Some(ours(bytes)))
            });
            assert_eq!(done.unwrap().bytes, b"b3", "{way:?} {by_rename}");
            assert_eq!(seen, ["a1", "a2", "a3"], "{way:?} {by_rename}");
            assert_eq!((place.text().as_str(), place.others().len()), ("b3", 0));
        }
    }
}

#[test]
fn an_edit_that_leaves_nothing_to_do_stays_as_it_was_written() {
    for way in WAYS {
        let place = Place::new("a1");
        let done = edit_by(way, &place.file(), |bytes| {
            if bytes == b"a1" {
                place.write("mine", true);
                return Ok::<_, Infallible>(Some(b"b1".to_vec()));
            }
            Ok(None)
        });
        assert_eq!(done.unwrap().bytes, b"mine");
        assert_eq!((place.text().as_str(), place.others().len()), ("mine", 0));
    }
}

#[test]
fn when_others_are_always_faster_their_newest_version_stays() {
    for way in WAYS {
        for by_rename in [false, true] {
            let place = Place::new("a0");
            let mut round = 0;
            let failed = edit_by(way, &place.file(), |bytes| {
                round += 1;
                place.write(&format!("a{round}"), by_rename);
                Ok::<_, Infallible>(Some(ours(bytes)))
            });
            assert!(matches!(failed, Err(EditError::Contested { rounds: MAX_ROUNDS, .. })), "{failed:?}");
            assert_eq!((place.text(), place.others().len()), (format!("a{MAX_ROUNDS}"), 0));
        }
    }
}

#[test]
fn a_change_that_fails_for_what_was_edited_leaves_that_in_place() {
    for way in WAYS {
        let place = Place::new("a1");
        let failed = edit_by(way, &place.file(), |bytes| {
            if bytes == b"a1" {
                place.write("broken", false);
                return Ok(Some(b"b1".to_vec()));
            }
            Err(String::from_utf8(bytes.to_vec()).unwrap())
        });
        assert!(matches!(failed, Err(EditError::Change(ref text)) if text == "broken"), "{failed:?}");
        assert_eq!((place.text().as_str(), place.others().len()), ("broken", 0));
    }
}

#[test]
fn a_file_that_is_removed_meanwhile_does_not_come_back() {
    for way in WAYS {
        let place = Place::new("a1");
        let failed = edit_by(way, &place.file(), |bytes| {
            fs::remove_file(place.file()).unwrap();
            Ok::<_, Infallible>(Some(ours(bytes)))
        });
        assert!(matches!(failed, Err(EditError::Io { ref source, .. }) if source.kind() == io::ErrorKind::NotFound));
        assert!(!place.file().exists() && place.others().is_empty(), "{:?}", place.others());
    }
}

#[test]
fn something_else_at_its_place_is_put_back() {
    let place = Place::new("a1");
    let failed = edit(&place.file(), |bytes| {
        fs::remove_file(place.file()).unwrap();
        std::os::unix::fs::symlink("nowhere", place.file()).unwrap();
        Ok::<_, Infallible>(Some(ours(bytes)))
    });
    assert!(matches!(failed, Err(EditError::Io { .. })), "{failed:?}");
    assert!(fs::symlink_metadata(place.file()).unwrap().is_symlink());
    assert_eq!(place.others(), Vec::<String>::new());
}

#[test]
fn a_file_that_is_too_large_or_no_file_is_refused() {
    let place = Place::new("");
    File::options().write(true).open(place.file()).unwrap().set_len(MAX_FILE_BYTES as u64 + 1).unwrap();
    assert!(matches!(edit(&place.file(), |_| Ok::<_, Infallible>(None)), Err(EditError::Io { .. })));
    assert!(matches!(edit(place.folder.path(), |_| Ok::<_, Infallible>(None)), Err(EditError::Io { .. })));
}

#[test]
fn a_folder_that_cannot_be_written_is_said_and_changes_nothing() {
    let place = Place::new("a1");
    fs::set_permissions(place.folder.path(), Permissions::from_mode(0o555)).unwrap();
    let failed = edit(&place.file(), |bytes| Ok::<_, Infallible>(Some(ours(bytes))));
    fs::set_permissions(place.folder.path(), Permissions::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED a_folder_that_cannot_be_written_is_said_and_changes_nothing: nothing is closed to root");
        return;
    }
    assert!(matches!(failed, Err(EditError::Io { .. })), "{failed:?}");
    assert_eq!((place.text().as_str(), place.others().len()), ("a1", 0));
}
