//! Parts of journal entries in the tables and, when they are large, in the blob store. In the tables a
//! part is TEXT as it is, or a BLOB: the same, deflated.

use std::io::Read as _;

use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row};

use crate::domain::id::Digest;
use crate::store::{BlobError, BlobStore, digest_of};

use super::body::{ListItem, PartSource, Parts};
use super::error::RegistryError;

/// Parts over this many bytes are blobs: a row would make the database slow to copy and to read.
const ROW_BYTES: usize = 64 * 1024;
/// Parts up to this many bytes stand as they are: deflating them wins next to nothing.
const PLAIN_BYTES: usize = 256;
/// Longest part that is read back from a row, in bytes; what an execution may leave in its journal is less.
const MAX_PART_BYTES: u64 = 1 << 30;
/// Longest list that is read back.
const MAX_ITEMS: usize = 1_000_000;

/// Writes the large parts into the blob store. Blocking; before the rows that name them.
pub(super) fn store_blobs(blobs: &BlobStore, parts: &Parts) -> Result<(), BlobError> {
    for (_, form) in large(parts) {
        blobs.put(form.as_bytes())?;
    }
    Ok(())
}

/// Whether [`store_blobs`] has anything to do.
pub(super) fn has_blobs(parts: &Parts) -> bool {
    large(parts).next().is_some()
}

fn large(parts: &Parts) -> impl Iterator<Item = &(Digest, String)> {
    parts.bodies.iter().filter(|(_, form)| form.len() > ROW_BYTES)
}

/// Adds the rows that are not there yet. The large parts stand in the blob store by now.
pub(super) fn insert(conn: &Connection, parts: &Parts) -> Result<(), RegistryError> {
    insert_up_to(conn, parts, ROW_BYTES)
}

/// Adds the rows that are not there yet, large or not: for what comes into being in a transaction.
pub(super) fn insert_whole(conn: &Connection, parts: &Parts) -> Result<(), RegistryError> {
    insert_up_to(conn, parts, usize::MAX)
}

fn insert_up_to(conn: &Connection, parts: &Parts, row_bytes: usize) -> Result<(), RegistryError> {
    if parts.bodies.is_empty() && parts.lists.is_empty() {
        return Ok(());
    }
    if is_watched(conn)? {
        name_all(conn, parts)?;
    }
    for (digest, form) in &parts.bodies {
        if !is_there(conn, "SELECT 1 FROM bodies WHERE digest = ?1", digest)? {
            let content = (form.len() <= row_bytes).then(|| packed(form)).transpose()?;
            conn.prepare_cached("INSERT INTO bodies (digest, size_bytes, content) VALUES (?1, ?2, ?3)")?.execute((
                digest.as_str(),
                form.len(),
                content,
            ))?;
        }
    }
    for ListItem { digest, previous, item } in missing(conn, &parts.lists)? {
        conn.prepare_cached("INSERT OR IGNORE INTO lists (digest, previous, item) VALUES (?1, ?2, ?3)")?.execute((
            digest.as_str(),
            previous.as_ref().map(Digest::as_str),
            packed(item)?,
        ))?;
    }
    Ok(())
}

/// Whether somebody drops parts at the same time, and has to know which ones are named again.
fn is_watched(conn: &Connection) -> Result<bool, RegistryError> {
    Ok(conn.prepare_cached("SELECT 1 FROM temp.sqlite_schema WHERE type = 'trigger'")?.exists([])?)
}

/// Shows every part to whoever watches, those as well that are there already. Rows that are not come after.
fn name_all(conn: &Connection, parts: &Parts) -> Result<(), RegistryError> {
    for (digest, _) in &parts.bodies {
        if is_there(conn, "SELECT 1 FROM bodies WHERE digest = ?1", digest)? {
            conn.prepare_cached("INSERT OR IGNORE INTO bodies (digest, size_bytes) VALUES (?1, 0)")?
                .execute([digest.as_str()])?;
        }
    }
    for ListItem { digest, .. } in &parts.lists {
        if is_there(conn, "SELECT 1 FROM lists WHERE digest = ?1", digest)? {
            conn.prepare_cached("INSERT OR IGNORE INTO lists (digest, item) VALUES (?1, '')")?
                .execute([digest.as_str()])?;
        }
    }
    Ok(())
}

/// The items that are not there yet, in order. An item never stands without those before it, so nobody
/// looks for the beginning of a conversation that has only grown.
fn missing<'p>(conn: &Connection, lists: &'p [ListItem]) -> Result<Vec<&'p ListItem>, RegistryError> {
    let mut missing = Vec::new();
    let mut there: Option<&Digest> = None;
    for node in lists.iter().rev() {
        if there == Some(&node.digest) || is_there(conn, "SELECT 1 FROM lists WHERE digest = ?1", &node.digest)? {
            there = node.previous.as_ref();
        } else {
            missing.push(node);
        }
    }
    missing.reverse();
    Ok(missing)
}

fn is_there(conn: &Connection, sql: &str, digest: &Digest) -> Result<bool, RegistryError> {
    Ok(conn.prepare_cached(sql)?.exists([digest.as_str()])?)
}

/// A form as it stands in a row.
fn packed(form: &str) -> Result<ToSqlOutput<'_>, RegistryError> {
    let plain = ToSqlOutput::Borrowed(ValueRef::Text(form.as_bytes()));
    if form.len() <= PLAIN_BYTES {
        return Ok(plain);
    }
    let mut deflated = Vec::with_capacity(form.len() / 2);
    DeflateEncoder::new(form.as_bytes(), Compression::default())
        .read_to_end(&mut deflated)
        .map_err(|e| RegistryError::Database(format!("a part of the journal cannot be deflated: {e}")))?;
    Ok(if deflated.len() < form.len() { ToSqlOutput::Owned(Value::Blob(deflated)) } else { plain })
}

/// The form in a column; NULL is none.
pub(super) fn unpacked(row: &Row<'_>, column: &str) -> Result<Option<String>, RegistryError> {
    let damaged = |e: &dyn std::fmt::Display| RegistryError::Damaged(format!("a part of the journal: {e}"));
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(deflated) => {
            let mut form = String::new();
            // Longer ones are cut, and have another digest then.
            DeflateDecoder::new(deflated).take(MAX_PART_BYTES).read_to_string(&mut form).map_err(|e| damaged(&e))?;
            Ok(Some(form))
        }
        plain => plain.as_str().map(|form| Some(form.to_owned())).map_err(|e| damaged(&e)),
    }
}

/// Reads parts back.
pub(super) struct StoredParts<'a> {
    pub(super) conn: &'a Connection,
    pub(super) blobs: &'a BlobStore,
}

impl PartSource for StoredParts<'_> {
    fn body(&self, digest: &Digest) -> Result<String, RegistryError> {
        let missing = || RegistryError::Damaged(format!("part {digest} of the journal is missing"));
        let content = self
            .conn
            .prepare_cached("SELECT content FROM bodies WHERE digest = ?1")?
            .query_and_then([digest.as_str()], |row| unpacked(row, "content"))?
            .next()
            .transpose()?
            .ok_or_else(missing)?;
        let Some(form) = content else {
            let bytes = self.blobs.get(digest)?;
            return String::from_utf8(bytes).map_err(|e| RegistryError::Damaged(e.to_string()));
        };
        if digest_of(form.as_bytes()) == *digest {
            Ok(form)
        } else {
            Err(RegistryError::Damaged(format!("part {digest} of the journal has other bytes")))
        }
    }

    fn list(&self, digest: &Digest) -> Result<Vec<String>, RegistryError> {
        let mut items = Vec::new();
        let mut next = Some(digest.clone());
        let mut statement = self.conn.prepare_cached("SELECT previous, item FROM lists WHERE digest = ?1")?;
        while let Some(digest) = next {
            let missing = || RegistryError::Damaged(format!("item {digest} of the journal is missing"));
            let (previous, item) = statement
                .query_and_then([digest.as_str()], |row| {
                    let item = unpacked(row, "item")?.ok_or_else(missing)?;
                    Ok::<_, RegistryError>((row.get::<_, Option<String>>("previous")?, item))
                })?
                .next()
                .transpose()?
                .ok_or_else(missing)?;
            let previous = previous.map(Digest::new).transpose().map_err(|e| RegistryError::Damaged(e.to_string()))?;
            let node = ListItem::new(previous, item);
            if node.digest != digest || items.len() >= MAX_ITEMS {
                return Err(RegistryError::Damaged(format!("item {digest} of the journal has other bytes")));
            }
            next = node.previous;
            items.push(node.item);
        }
        items.reverse();
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with one column, as the parts have it.
    fn stored(form: &str) -> (Connection, bool) {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute("CREATE TABLE t (c ANY) STRICT", []).unwrap();
        conn.execute("INSERT INTO t VALUES (?1)", [packed(form).unwrap()]).unwrap();
        let is_blob = conn.query_row("SELECT typeof(c) = 'blob' FROM t", [], |row| row.get(0)).unwrap();
        (conn, is_blob)
    }

    fn read(conn: &Connection) -> Result<Option<String>, RegistryError> {
        conn.prepare("SELECT c FROM t").unwrap().query_and_then([], |row| unpacked(row, "c")).unwrap().next().unwrap()
    }

    #[test]
    fn a_part_is_deflated_when_that_makes_it_shorter_and_comes_back_the_same() {
        let cases =
            [(String::new(), false), ("é".repeat(128), false), ("é".repeat(129), true), ("long ".repeat(9_000), true)];
        for (form, deflated) in cases {
            let (conn, is_blob) = stored(&form);
            assert_eq!((is_blob, read(&conn).unwrap()), (deflated, Some(form)));
        }
    }

    #[test]
    fn what_cannot_be_inflated_is_damage() {
        let (conn, _) = stored(&"a part of a journal ".repeat(200));
        conn.execute("UPDATE t SET c = x'ffffffff'", []).unwrap();
        assert!(matches!(read(&conn), Err(RegistryError::Damaged(_))));
    }
}
