//! What a spell is.

use std::fmt;
use std::str::FromStr;

/// The school that a spell belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum School {
    Fire,
    Water,
    Wind,
    Earth,
    Light,
}

impl School {
    /// Every school, in the order of the wheel.
    pub const ALL: [School; 5] = [School::Fire, School::Water, School::Wind, School::Earth, School::Light];

    /// The name as it stands in a book.
    pub fn as_str(self) -> &'static str {
        match self {
            School::Fire => "fire",
            School::Water => "water",
            School::Wind => "wind",
            School::Earth => "earth",
            School::Light => "light",
        }
    }
}

impl fmt::Display for School {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for School {
    type Err = String;

    fn from_str(text: &str) -> Result<School, String> {
        School::ALL
            .into_iter()
            .find(|school| school.as_str() == text)
            .ok_or_else(|| format!("there is no school `{text}`"))
    }
}

/// A spell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spell {
    /// What the spell is called.
    pub name: String,
    /// Its school.
    pub school: School,
    /// How hard it is, from 1 to 9.
    pub level: u8,
    /// What has to be said.
    pub words: String,
}

impl Spell {
    /// The highest level.
    pub const MAX_LEVEL: u8 = 9;

    /// A spell, if the level is one.
    pub fn new(name: &str, school: School, level: u8, words: &str) -> Result<Spell, String> {
        if level == 0 || level > Spell::MAX_LEVEL {
            return Err(format!("level {level} is not between 1 and {}", Spell::MAX_LEVEL));
        }
        Ok(Spell { name: name.to_owned(), school, level, words: words.to_owned() })
    }
}
