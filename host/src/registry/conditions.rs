//! Queries whose conditions are known only when they are asked. Values are always bound, never text of a
//! statement.

use rusqlite::types::Value as Sql;

/// Conditions of a query whose filter is known only now.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) sql: Vec<String>,
    pub(super) values: Vec<Sql>,
}

impl Conditions {
    pub(super) fn add(&mut self, condition: &str, value: Option<impl Into<Sql>>) {
        if let Some(value) = value {
            self.sql.push(condition.to_owned());
            self.values.push(value.into());
        }
    }

    pub(super) fn text(&mut self, condition: &str, value: Option<&str>) {
        self.add(condition, value.map(str::to_owned));
    }

    /// One of these values; any, when there are none.
    pub(super) fn one_of<'v>(&mut self, column: &str, values: impl ExactSizeIterator<Item = &'v str>) {
        if values.len() > 0 {
            self.sql.push(format!("{column} IN ({})", vec!["?"; values.len()].join(", ")));
            self.values.extend(values.map(|value| Sql::from(value.to_owned())));
        }
    }

    pub(super) fn clause(&self) -> String {
        if self.sql.is_empty() { String::new() } else { format!(" WHERE {}", self.sql.join(" AND ")) }
    }
}
