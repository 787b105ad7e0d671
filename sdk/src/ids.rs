//! The contract's ids as types of their own: a task is not taken for an instance, and tasks are ordered as people
//! number them. The records of the contract keep their texts; these are views of them.

use std::cmp::Ordering;
use std::fmt;

use crate::routing::{Candidate, Decision, Issue, instance_number};
use crate::scheduling::{Placement, Pool, ReadyTask, compare_task_ids};
use crate::spirit::Assignment;

/// Makes an id: a view of a text.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            pub struct $name<'a>(&'a str);

            impl<'a> $name<'a> {
                /// The id in this text.
                #[must_use]
                pub const fn new(text: &'a str) -> Self {
                    Self(text)
                }

                /// Its text.
                #[must_use]
                pub const fn as_str(self) -> &'a str {
                    self.0
                }
            }

            impl fmt::Display for $name<'_> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(self.0)
                }
            }

            impl From<$name<'_>> for String {
                fn from(id: $name<'_>) -> Self {
                    id.0.to_owned()
                }
            }

            impl PartialOrd for $name<'_> {
                fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                    Some(self.cmp(other))
                }
            }
        )*
    };
}

ids! {
    /// A member of the team, such as `qa_spirit_2`.
    InstanceId;
    /// A task's number inside its spec, such as `2.1`.
    TaskId;
    /// A spec's name.
    SpecId;
    /// A role, such as `qa`.
    RoleId;
}

impl Ord for InstanceId<'_> {
    /// By role, then by number.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.role(), self.number(), self.0).cmp(&(other.role(), other.number(), other.0))
    }
}

impl Ord for TaskId<'_> {
    /// As people number: 2, 2.2, 2.10, 10.
    fn cmp(&self, other: &Self) -> Ordering {
        compare_task_ids(self.0, other.0)
    }
}

impl Ord for SpecId<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(other.0)
    }
}

impl Ord for RoleId<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(other.0)
    }
}

impl<'a> InstanceId<'a> {
    /// What stands before `_spirit_`.
    #[must_use]
    pub fn role(self) -> RoleId<'a> {
        RoleId(self.0.rsplit_once("_spirit_").map_or(self.0, |(role, _)| role))
    }

    /// The number at its end.
    #[must_use]
    pub fn number(self) -> u64 {
        instance_number(self.0)
    }
}

impl Candidate {
    /// The instance.
    #[must_use]
    pub fn id(&self) -> InstanceId<'_> {
        InstanceId(&self.instance)
    }

    /// Its role.
    #[must_use]
    pub fn role_id(&self) -> RoleId<'_> {
        RoleId(&self.role)
    }

    /// Whether a label of the issue names its role or one of its skills; an issue without labels fits everybody.
    #[must_use]
    pub fn fits(&self, issue: &Issue) -> bool {
        let named = |label: &String| *label == self.role || self.skills.contains(label);
        issue.labels.is_empty() || issue.labels.iter().any(named)
    }

    /// Whether it could begin another attempt now.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.load < self.capacity
    }
}

impl Decision {
    /// A decision for this instance, without scores and state.
    #[must_use]
    pub fn of(instance: InstanceId<'_>, reason: impl Into<String>) -> Self {
        Self { instance: instance.into(), scores: Vec::new(), reason: reason.into(), state: String::new() }
    }
}

impl ReadyTask {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> TaskId<'_> {
        TaskId(&self.task)
    }

    /// Its spec.
    #[must_use]
    pub fn spec_id(&self) -> SpecId<'_> {
        SpecId(&self.spec)
    }

    /// It, in this pool.
    #[must_use]
    pub fn in_pool(&self, pool: &Pool) -> Placement {
        Placement { spec: self.spec.clone(), task: self.task.clone(), pool: pool.name.clone() }
    }
}

impl Assignment {
    /// The task.
    #[must_use]
    pub fn task_id(&self) -> TaskId<'_> {
        TaskId(&self.task)
    }

    /// Its spec.
    #[must_use]
    pub fn spec_id(&self) -> SpecId<'_> {
        SpecId(&self.spec)
    }

    /// Who it is given to.
    #[must_use]
    pub fn instance_id(&self) -> InstanceId<'_> {
        InstanceId(&self.envelope.agent_instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_as_people_read_them() {
        let mut tasks = ["10", "2.10", "2.2"].map(TaskId::new);
        tasks.sort();
        assert_eq!(tasks.map(TaskId::as_str), ["2.2", "2.10", "10"]);
        let mut instances = ["qa_spirit_10", "qa_spirit_9", "backend_spirit_11"].map(InstanceId::new);
        instances.sort();
        assert_eq!(instances.map(InstanceId::as_str), ["backend_spirit_11", "qa_spirit_9", "qa_spirit_10"]);
        assert_eq!(InstanceId::new("scrum_master_spirit_2").role(), RoleId::new("scrum_master"));
    }
}
