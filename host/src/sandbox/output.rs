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
        let (mut head, mut tail, mut lost) = (self.head, Vec::from(self.tail), self.lost_bytes);
        if lost == 0 {
            head.append(&mut tail);
            hide(&mut head, mask, 0, 0);
        } else {
            // Of a secret that lay across the gap, up to all but one byte may stand at either side.
            let edge = mask.longest_bytes().saturating_sub(1);
            lost += hide(&mut head, mask, 0, edge) + hide(&mut tail, mask, edge, 0);
        }
        let mut elided_bytes = lost;
        let mut cut = |stream: Stream| {
            let (head, tail) = (text_of(&head, Some(stream)), text_of(&tail, Some(stream)));
            let (text, left_out) =
                if lost == 0 { cut_middle(&head, limit_bytes) } else { join_cut(&head, &tail, limit_bytes) };
            elided_bytes += left_out;
            text
        };
        let (stdout, stderr) = (cut(Stream::Out), cut(Stream::Err));
        let mut log = mask.apply(&text_of(&head, None));
        if lost > 0 {
            log.push_str(&format!("\n[{lost} bytes left out]\n"));
            log.push_str(&mask.apply(&text_of(&tail, None)));
        }
        Printed { stdout, stderr, elided_bytes, log: log.into_bytes() }
    }
}

/// The text of one stream, or of both in order.
fn text_of(pieces: &[(Stream, Vec<u8>)], wanted: Option<Stream>) -> String {
    let wanted = pieces.iter().filter(|(stream, _)| wanted.is_none_or(|wanted| wanted == *stream));
    let bytes: Vec<u8> = wanted.flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes of a stream that are not shown, and what stands in their place.
struct Hole {
    start: usize,
    end: usize,
    shown: &'static str,
}

/// Masks the secrets of each stream, also those that lie in several pieces, and takes away the `first`
/// and the `last` bytes of each. Gives how many bytes were taken away without a marker in their place.
fn hide(pieces: &mut [(Stream, Vec<u8>)], mask: &Mask, first: usize, last: usize) -> u64 {
    let mut taken = 0;
    for stream in [Stream::Out, Stream::Err] {
        let whole: Vec<u8> =
            pieces.iter().filter(|(of, _)| *of == stream).flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let holes = holes(&whole, mask, first, last);
        taken +=
            holes.iter().filter(|hole| hole.shown.is_empty()).map(|hole| (hole.end - hole.start) as u64).sum::<u64>();
        let mut end = 0;
        for (_, bytes) in pieces.iter_mut().filter(|(of, _)| *of == stream) {
            let start = end;
            end += bytes.len();
            let mut kept = Vec::with_capacity(bytes.len());
            let mut from = start;
            let begin = holes.partition_point(|hole| hole.end <= start);
            for hole in holes[begin..].iter().take_while(|hole| hole.start < end) {
                kept.extend_from_slice(&whole[from..hole.start.max(from)]);
                if hole.start >= start {
                    kept.extend_from_slice(hole.shown.as_bytes());
                }
                from = hole.end.min(end);
            }
            kept.extend_from_slice(&whole[from..end]);
            *bytes = kept;
        }
    }
    taken
}

/// The holes of a stream in order, none overlapping another. A secret that reaches into an edge goes
/// with it.
fn holes(whole: &[u8], mask: &Mask, first: usize, last: usize) -> Vec<Hole> {
    let mut begin = first.min(whole.len());
    let mut end = whole.len() - last.min(whole.len());
    let secrets = mask.ranges(whole);
    for (start, until) in &secrets {
        if *start < begin {
            begin = begin.max(*until);
        }
        if *until > end {
            end = end.min(*start);
        }
    }
    if begin >= end {
        return if first + last > 0 { vec![Hole { start: 0, end: whole.len(), shown: "" }] } else { Vec::new() };
    }
    let inside = secrets.into_iter().filter(|(start, until)| *start >= begin && *until <= end);
    let inside = inside.map(|(start, end)| Hole { start, end, shown: Mask::MARKER });
    let edge = |start: usize, end: usize| (start < end).then_some(Hole { start, end, shown: "" });
    edge(0, begin).into_iter().chain(inside).chain(edge(end, whole.len())).collect()
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

    /// Nothing else in these tests has its letters.
    const SECRET: &str = "QWERTYUIOP";

    /// Everything that is shown of these pieces.
    fn shown(pieces: &[(Stream, &str)], kept_bytes: usize, limit_bytes: usize) -> String {
        let mut recorder = Recorder::new(kept_bytes);
        for (stream, text) in pieces {
            recorder.push(*stream, text.as_bytes());
        }
        let printed = recorder.finish(&Mask::new([SECRET]), limit_bytes);
        format!("{}{}{}", printed.stdout, printed.stderr, String::from_utf8(printed.log).unwrap())
    }

    #[test]
    fn no_part_of_a_secret_survives_wherever_it_is_cut() {
        let text = format!("{}{SECRET}{}", "a".repeat(14), "b".repeat(14));
        for kept_bytes in 0..=text.len() + 2 {
            for at in 0..=text.len() {
                let (one, two) = text.split_at(at);
                for pieces in [
                    &[(Stream::Out, one), (Stream::Out, two)][..],
                    &[(Stream::Out, one), (Stream::Err, "cc\n"), (Stream::Out, two)],
                    &[(Stream::Err, one), (Stream::Out, "dddddddddddddddd"), (Stream::Err, two)],
                ] {
                    let shown = shown(pieces, kept_bytes, 1000);
                    let left = shown.contains(|c: char| SECRET.contains(c));
                    assert!(!left, "{kept_bytes} bytes kept of {pieces:?}: {shown}");
                }
            }
        }
    }

    #[test]
    fn a_whole_secret_leaves_its_marker_and_all_that_is_beside_it() {
        let whole = shown(&[(Stream::Out, "one QWERT"), (Stream::Err, "two "), (Stream::Out, "YUIOP three")], 100, 100);
        assert_eq!(whole, "one «masked» threetwo one «masked»two  three");
        // The gap takes 9 bytes at each side with it, which are counted.
        let text = format!("QWERTYUIOP{}", "a".repeat(60));
        let cut = shown(&[(Stream::Out, &text)], 60, 100);
        assert_eq!(
            cut,
            format!(
                "«masked»{0}\n[more was left out]\n{1}«masked»{0}\n[28 bytes left out]\n{1}",
                "a".repeat(11),
                "a".repeat(21)
            )
        );
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
