//! Colours, where they are wanted.

use std::io::IsTerminal as _;

use super::args::Colour;

/// Whether and how text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// No colours.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { coloured: false }
    }

    /// For standard output.
    pub(crate) fn stdout(colour: Colour) -> Self {
        Self::choose(colour, std::io::stdout().is_terminal())
    }

    /// For standard error.
    pub(crate) fn stderr(colour: Colour) -> Self {
        Self::choose(colour, std::io::stderr().is_terminal())
    }

    /// Whether there are any colours.
    pub(crate) const fn is_coloured(self) -> bool {
        self.coloured
    }

    fn choose(colour: Colour, terminal: bool) -> Self {
        let coloured = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        Self { coloured }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Done, passed.
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Failed.
    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Look here.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Begins.
    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// Headings.
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Less important.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}
