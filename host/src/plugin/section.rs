//! The manifest inside a component: a custom section at the top level, which the digest covers like everything
//! else. Only sections are walked here; what they hold is for the compiler to judge.

use std::borrow::Cow;

/// The section's name.
pub(crate) const NAME: &str = "necro:manifest";
/// Magic number, version and layer.
const HEADER_BYTES: usize = 8;
/// Section id of what only carries a name and bytes.
const CUSTOM: u8 = 0;

/// The bytes do not fall into sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its sections are broken at byte {at}")]
pub(crate) struct Broken {
    /// Where.
    pub(crate) at: usize,
}

/// The text of the manifest, if there is one.
///
/// # Errors
/// [`Broken`]; also when the section's text is no UTF-8.
pub(crate) fn read(component: &[u8]) -> Result<Option<&str>, Broken> {
    for section in Sections::of(component) {
        let section = section?;
        if let Some(text) = section.manifest() {
            return std::str::from_utf8(text).map(Some).map_err(|_| Broken { at: section.at });
        }
    }
    Ok(None)
}

/// The component with `manifest` in it, in place of one that it had.
///
/// # Errors
/// [`Broken`].
pub(crate) fn embed(component: &[u8], manifest: &str) -> Result<Vec<u8>, Broken> {
    let mut bytes = without(component)?.into_owned();
    let name_bytes = u32::try_from(NAME.len()).unwrap_or(u32::MAX);
    let content = NAME.len() + manifest.len() + leb128(name_bytes).len();
    bytes.push(CUSTOM);
    bytes.extend(leb128(u32::try_from(content).map_err(|_| Broken { at: component.len() })?));
    bytes.extend(leb128(name_bytes));
    bytes.extend(NAME.as_bytes());
    bytes.extend(manifest.as_bytes());
    Ok(bytes)
}

/// The component without its manifest.
///
/// # Errors
/// [`Broken`].
pub(crate) fn without(component: &[u8]) -> Result<Cow<'_, [u8]>, Broken> {
    let mut kept = Cow::Borrowed(component);
    let mut removed = 0;
    for section in Sections::of(component) {
        let section = section?;
        if section.manifest().is_some() {
            kept.to_mut().drain(section.at - removed..section.end - removed);
            removed += section.end - section.at;
        }
    }
    Ok(kept)
}

struct Section<'a> {
    id: u8,
    /// Where its id stands.
    at: usize,
    end: usize,
    content: &'a [u8],
}

impl<'a> Section<'a> {
    fn manifest(&self) -> Option<&'a [u8]> {
        let (length, rest) = (self.id == CUSTOM).then(|| number(self.content)).flatten()?;
        rest.split_at_checked(length).and_then(|(name, text)| (name == NAME.as_bytes()).then_some(text))
    }
}

struct Sections<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Sections<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: HEADER_BYTES.min(bytes.len()) }
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let (&id, rest) = self.bytes.get(at..)?.split_first()?;
        let section = number(rest).and_then(|(length, rest)| {
            let content = rest.get(..length)?;
            let end = self.bytes.len() - rest.len() + length;
            Some(Section { id, at, end, content })
        });
        self.at = section.as_ref().map_or(self.bytes.len(), |section| section.end);
        Some(section.ok_or(Broken { at }))
    }
}

/// An unsigned number of at most 32 bits in LEB128, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (position, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(u32::try_from(value).ok()?).ok()?, &bytes[position + 1..]));
        }
    }
    None
}

fn leb128(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5);
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: [u8; 8] = [0, b'a', b's', b'm', 13, 0, 1, 0];

    fn component(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for (id, content) in sections {
            bytes.push(*id);
            bytes.extend(leb128(u32::try_from(content.len()).unwrap()));
            bytes.extend(content);
        }
        bytes
    }

    proptest! {
        #[test]
        fn what_was_embedded_is_read_and_nothing_else_changes(
            sections in prop::collection::vec((1_u8..12, prop::collection::vec(any::<u8>(), 0..300)), 0..6),
            first in "\\PC{0,400}",
            second in "\\PC{0,400}",
        ) {
            let bare = component(&sections);
            prop_assert_eq!(read(&bare), Ok(None));
            let once = embed(&bare, &first).unwrap();
            prop_assert_eq!(read(&once), Ok(Some(first.as_str())));
            let twice = embed(&once, &second).unwrap();
            prop_assert_eq!(read(&twice), Ok(Some(second.as_str())));
            prop_assert_eq!(without(&twice).unwrap().into_owned(), bare);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if bytes.len() > 8 {
                bytes[..8].copy_from_slice(&HEADER);
            }
            let _ = read(&bytes);
            let _ = embed(&bytes, "x");
        }
    }

    #[test]
    fn broken_sections_are_named_by_their_place() {
        let mut cut = component(&[(4, vec![1; 200])]);
        cut.truncate(100);
        assert_eq!(read(&cut), Err(Broken { at: 8 }));
        assert_eq!(read(&component(&[(0, b"\x0enecro:manifest\xff".to_vec())])), Err(Broken { at: 8 }));
        assert_eq!(read(b""), Ok(None));
    }
}
