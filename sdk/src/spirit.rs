//! Spirits: components that do assignments in a role.

use std::marker::PhantomData;

use crate::bindings::spirit::exports::necro::plugin::role::Guest;
pub use crate::bindings::spirit::exports::necro::plugin::role::{
    Assignment, Budget, NamedCommand, Report, RoleInfo, WorkKind,
};
pub use crate::coding::Prompt;
pub use crate::host::registry::DependencyReport;
use crate::{Failure, Settings, coding};

pub use crate::bindings::host::necro::plugin::types::{Criterion, Document, Envelope};

/// A role and how it works.
pub trait Spirit: Sized {
    /// architect, scrum_master, frontend, backend, database, qa, devops, documentation, or a new one.
    fn role() -> &'static str;

    /// Its name for people.
    fn title() -> &'static str;

    /// What it can do, in words that a task's `_Skill:_` or a label may name.
    fn skills() -> &'static [&'static str];

    /// Who it is and how it works, as instructions to a model; `None` refuses that kind of work.
    fn prompt(kind: WorkKind) -> Option<Prompt>;

    /// Do one assignment; unless replaced, by the coding loop.
    ///
    /// # Errors
    /// A [`Failure`] fails the attempt.
    fn perform(assignment: &Assignment, settings: &Settings) -> Result<Report, Failure> {
        let Some(prompt) = Self::prompt(assignment.kind) else {
            return Err(Failure::Invalid(format!("{} does not do this kind of work", Self::role())));
        };
        coding::perform(&mut coding::Imports, &prompt, assignment, settings)
    }
}

/// The generated interface over the trait.
#[doc(hidden)]
#[derive(Debug)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: Spirit> Guest for Adapter<T> {
    fn describe() -> RoleInfo {
        RoleInfo {
            role: T::role().to_owned(),
            title: T::title().to_owned(),
            skills: T::skills().iter().map(|skill| (*skill).to_owned()).collect(),
        }
    }

    fn perform(assignment: Assignment, settings: String) -> Result<Report, Failure> {
        T::perform(&assignment, &Settings::new(settings))
    }
}

/// Make a type that implements [`Spirit`] the component's export.
#[macro_export]
macro_rules! export_spirit {
    ($spirit:ty) => {
        const _: () = {
            const fn implements<T: $crate::Spirit>() {}
            implements::<$spirit>();
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::spirit::Adapter<$spirit>;
    $crate::bindings::spirit::export!(Exported with_types_in $crate::bindings::spirit);
        };
    };
}
