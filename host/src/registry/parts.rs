//! Parts of journal entries in the tables and, when they are large, in the blob store.

use rusqlite::{Connection, OptionalExtension};

use crate::domain::id::Digest;
use crate::store::{BlobError, BlobStore, digest_of};

use super::body::{ListItem, PartSource, Parts};
use super::error::RegistryError;

/// Parts over this many bytes are blobs: a row would make the database slow to copy and to read.
const ROW_BYTES: usize = 64 * 1024;
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
    for (digest, form) in &parts.bodies {
        let content = (form.len() <= row_bytes).then_some(form);
        conn.prepare_cached("INSERT OR IGNORE INTO bodies (digest, size_bytes, content) VALUES (?1, ?2, ?3)")?
            .execute((digest.as_str(), form.len(), content))?;
    }
    for ListItem { digest, previous, item } in &parts.lists {
        conn.prepare_cached("INSERT OR IGNORE INTO lists (digest, previous, item) VALUES (?1, ?2, ?3)")?.execute((
            digest.as_str(),
            previous.as_ref().map(Digest::as_str),
            item,
        ))?;
    }
    Ok(())
}

/// Reads parts back.
pub(super) struct StoredParts<'a> {
    pub(super) conn: &'a Connection,
    pub(super) blobs: &'a BlobStore,
}

impl PartSource for StoredParts<'_> {
    fn body(&self, digest: &Digest) -> Result<String, RegistryError> {
        let missing = || RegistryError::Damaged(format!("part {digest} of the journal is missing"));
        let content: Option<String> = self
            .conn
            .prepare_cached("SELECT content FROM bodies WHERE digest = ?1")?
            .query_row([digest.as_str()], |row| row.get(0))
            .optional()?
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
            let (previous, item) = statement
                .query_row([digest.as_str()], |row| {
                    Ok((row.get::<_, Option<String>>("previous")?, row.get::<_, String>("item")?))
                })
                .optional()?
                .ok_or_else(|| RegistryError::Damaged(format!("item {digest} of the journal is missing")))?;
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
