//! Components that each do one bad thing: one file of `examples/` for each, which the macros here make a
//! plugin of its kind. What becomes of them is a table in `tests/README.md`.
#![forbid(unsafe_code)]

pub use necro_sdk;

/// A routing policy that does `$deed`: a function of the candidates and the settings to a decision.
#[macro_export]
macro_rules! router {
    ($deed:expr) => {
        /// Does it.
        #[derive(Debug)]
        pub struct Deed;

        impl $crate::necro_sdk::RoutingPolicy for Deed {
            fn route(
                _: &$crate::necro_sdk::routing::Issue,
                candidates: &[$crate::necro_sdk::routing::Candidate],
                _: &$crate::necro_sdk::Settings,
                _: &str,
            ) -> Result<$crate::necro_sdk::routing::Decision, $crate::necro_sdk::Failure> {
                let deed: fn($crate::necro_sdk::routing::Decision) -> $crate::necro_sdk::routing::Decision = $deed;
                let first = candidates
                    .first()
                    .ok_or_else(|| $crate::necro_sdk::Failure::GaveUp("there are no candidates".to_owned()))?;
                Ok(deed($crate::necro_sdk::routing::choose(first, "the first")))
            }
        }

        $crate::necro_sdk::export_routing!(Deed);
    };
}

/// A spirit that does `$deed`: a function of the task's text to what it reports.
#[macro_export]
macro_rules! spirit {
    ($deed:expr) => {
        /// Does it.
        #[derive(Debug)]
        pub struct Deed;

        impl $crate::necro_sdk::Spirit for Deed {
            fn role() -> &'static str {
                "hostile"
            }

            fn title() -> &'static str {
                "Hostile"
            }

            fn skills() -> &'static [&'static str] {
                &[]
            }

            fn prompt(_: $crate::necro_sdk::spirit::WorkKind) -> Option<$crate::necro_sdk::spirit::Prompt> {
                None
            }

            fn perform(
                assignment: &$crate::necro_sdk::spirit::Assignment,
                _: &$crate::necro_sdk::Settings,
            ) -> Result<$crate::necro_sdk::spirit::Report, $crate::necro_sdk::Failure> {
                let deed: fn(&str) -> Vec<String> = $deed;
                let summary = deed(&assignment.text).join("\n");
                Ok($crate::necro_sdk::spirit::Report { title: "done".to_owned(), summary })
            }
        }

        $crate::necro_sdk::export_spirit!(Deed);
    };
}

/// A line of a report: what was tried, and what the host answered.
pub fn line<T: std::fmt::Debug>(what: &str, answer: Result<T, necro_sdk::HostError>) -> String {
    match answer {
        Ok(value) => format!("{what:?}: got {value:?}"),
        Err(error) => format!("{what:?}: {}", necro_sdk::error_text(&error)),
    }
}
