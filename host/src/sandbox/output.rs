//! What a command prints, kept within bounds: the beginning and the end of it, both streams in the
//! order in which they came. Pure.

use std::collections::VecDeque;

use crate::domain::mask::Mask;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Keeps the first half and the last half of its limit.
#[derive(Debug)]
pub(crate) struct Recorder {
    half_bytes: usize,
    head: Vec<(Stream, Vec<u8>)>,
    head_bytes: usize,
    tail: VecDeque<(Stream, Vec<u8>)>,
    tail_bytes: usize,
    lost_bytes: u64,
}

/// Everything that is known about an output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    /// Standard output, cut.
    pub(crate) stdout: String,
    /// Standard error, cut.
    pub(crate) stderr: String,
    /// Bytes left out of both together.
    pub(crate) elided_bytes: u64,
    /// Both in order, as far as they were kept.
    pub(crate) log: Vec<u8>,
}

impl Recorder {
    /// Keeps at most `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            half_bytes: limit_bytes / 2,
            head: Vec::new(),
            head_bytes: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            lost_bytes: 0,
        }
    }

    /// Adds a piece.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let room = self.half_bytes - self.head_bytes;
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        if !first.is_empty() {
            self.head_bytes += first.len();
            append(&mut self.head, stream, first);
        }
        if rest.is_empty() {
            return;
        }
        self.tail_bytes += rest.len();
        self.tail.push_back((stream, rest.to_vec()));
        while self.tail_bytes > self.half_bytes {
            let excess = self.tail_bytes - self.half_bytes;
            let Some((_, oldest)) = self.tail.front_mut() else { break };
            let dropped = excess.min(oldest.len());
            oldest.drain(..dropped);
            if oldest.is_empty() {
                self.tail.pop_front();
            }
            self.tail_bytes -= dropped;
            self.lost_bytes += dropped as u64;
        }
    }

    /// Masks secrets, then cuts each stream to `limit_bytes`: its beginning and its end.
    pub(crate) fn finish(self, mask: &Mask, limit_bytes: usize) -> Printed {
        let lost = self.lost_bytes;
        let text_of = |pieces: &mut dyn Iterator<Item = &(Stream, Vec<u8>)>| {
            let bytes: Vec<u8> = pieces.flat_map(|(_, bytes)| bytes.iter().copied()).collect();
            mask.apply(&String::from_utf8_lossy(&bytes))
        };
        let mut elided_bytes = lost;
        let mut cut = |stream: Stream| {
            let head = text_of(&mut self.head.iter().filter(|(s, _)| *s == stream));
            let tail = text_of(&mut self.tail.iter().filter(|(s, _)| *s == stream));
            let (text, left_out) = if lost == 0 {
                cut_middle(&[head, tail].concat(), limit_bytes)
            } else {
                join_cut(&head, &tail, limit_bytes)
            };
            elided_bytes += left_out;
            text
        };
        let (stdout, stderr) = (cut(Stream::Out), cut(Stream::Err));
        let mut log = text_of(&mut self.head.iter());
        if lost > 0 {
            log.push_str(&format!("\n[{lost} bytes left out]\n"));
        }
        log.push_str(&text_of(&mut self.tail.iter()));
        Printed { stdout, stderr, elided_bytes, log: log.into_bytes() }
    }
}

/// Adds to the last piece if it is of the same stream.
fn append(pieces: &mut Vec<(Stream, Vec<u8>)>, stream: Stream, bytes: &[u8]) {
    match pieces.last_mut() {
        Some((last, kept)) if *last == stream => kept.extend_from_slice(bytes),
        _ => pieces.push((stream, bytes.to_vec())),
    }
}

/// A text's beginning and end, and how many bytes between them are left out.
fn cut_middle(text: &str, limit_bytes: usize) -> (String, u64) {
    if text.len() <= limit_bytes {
        return (text.to_owned(), 0);
    }
    let head = &text[..text.floor_char_boundary(limit_bytes / 2)];
    let tail = &text[text.ceil_char_boundary(text.len() - limit_bytes / 2)..];
    let left_out = text.len() - head.len() - tail.len();
    (format!("{head}\n[{left_out} bytes left out]\n{tail}"), left_out as u64)
}

/// The same, where the middle is lost already.
fn join_cut(head: &str, tail: &str, limit_bytes: usize) -> (String, u64) {
    let first = &head[..head.floor_char_boundary((limit_bytes / 2).min(head.len()))];
    let last = &tail[tail.ceil_char_boundary(tail.len().saturating_sub(limit_bytes / 2))..];
    let left_out = head.len() - first.len() + tail.len() - last.len();
    if first.is_empty() && last.is_empty() {
        return (String::new(), left_out as u64);
    }
    (format!("{first}\n[more was left out]\n{last}"), left_out as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_output_stays_whole_and_in_order() {
        let mut recorder = Recorder::new(1000);
        for (stream, text) in [(Stream::Out, "a"), (Stream::Err, "b"), (Stream::Out, "c")] {
            recorder.push(stream, text.as_bytes());
        }
        let printed = recorder.finish(&Mask::default(), 100);
        let expected = Printed { stdout: "ac".into(), stderr: "b".into(), elided_bytes: 0, log: b"abc".to_vec() };
        assert_eq!(printed, expected);
    }

    #[test]
    fn secrets_are_hidden_before_anything_is_cut() {
        let mut recorder = Recorder::new(1000);
        recorder.push(Stream::Out, b"key: hunter2-");
        recorder.push(Stream::Out, b"secret");
        let printed = recorder.finish(&Mask::new(["hunter2-secret"]), 12);
        assert!(!printed.stdout.contains("hunter2"), "{}", printed.stdout);
        assert!(!String::from_utf8(printed.log).unwrap().contains("hunter2"));
    }

    proptest! {
        #[test]
        fn beginning_and_end_survive_and_the_rest_is_counted(
            pieces in prop::collection::vec(("[a-z]{0,30}", any::<bool>()), 0..40),
            limit in 10usize..200,
        ) {
            let mut recorder = Recorder::new(limit);
            let mut whole = String::new();
            for (text, out) in &pieces {
                recorder.push(if *out { Stream::Out } else { Stream::Err }, text.as_bytes());
                whole.push_str(text);
            }
            let printed = recorder.finish(&Mask::default(), limit);
            let log = String::from_utf8(printed.log).unwrap();
            let half = (limit / 2).min(whole.len());
            prop_assert!(log.starts_with(&whole[..half]));
            prop_assert!(log.ends_with(&whole[whole.len() - half..]));
            if whole.len() <= limit / 2 * 2 {
                prop_assert_eq!(printed.elided_bytes, 0);
                prop_assert_eq!(printed.stdout.len() + printed.stderr.len(), whole.len());
            } else {
                prop_assert!(printed.elided_bytes > 0);
            }
        }
    }
}
