//! What holds for every spell.

use spellbook::spell::{School, Spell};

#[test]
fn schools_read_back_what_they_write() {
    for school in School::ALL {
        assert_eq!(school.to_string().parse(), Ok(school));
    }
    assert!("plumbing".parse::<School>().is_err());
}

#[test]
fn levels_go_from_one_to_nine() {
    assert!(Spell::new("Spark", School::Fire, 0, "scintilla").is_err());
    assert!(Spell::new("Spark", School::Fire, 1, "scintilla").is_ok());
    assert!(Spell::new("Sunfall", School::Fire, 9, "sol cade").is_ok());
    assert!(Spell::new("Sunfall", School::Fire, 10, "sol cade").is_err());
}
