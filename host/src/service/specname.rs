//! Which spec a run works on: the one that is named, or a name made of the job that no other job has.

use super::error::ServiceError;
use super::necromancer::Goal;
use crate::domain::id::SpecName;
use crate::registry::Registry;
use crate::spec::job;
use crate::store::digest_of;

/// Length of the digest that is put behind a name that another job has.
const SUFFIX_CHARS: usize = 8;

/// First line of a job, for people.
pub(crate) fn title(text: &str) -> String {
    job::title(text)
}

/// The spec's name. `existing` are the specs of the base commit.
pub(crate) async fn choose(goal: &Goal, registry: &Registry, existing: &[SpecName]) -> Result<SpecName, ServiceError> {
    let text = match goal {
        Goal::Spec(spec) => {
            let known = registry.read(|reader| reader.specs()).await?;
            if existing.contains(spec) || known.contains(spec) {
                return Ok(spec.clone());
            }
            let names: Vec<&str> = existing.iter().map(SpecName::as_str).collect();
            let there = if names.is_empty() { "none with a tasks.md".to_owned() } else { names.join(", ") };
            return Err(ServiceError::Usage(format!(
                "the base commit has no .kiro/specs/{spec}/tasks.md; it has: {there}"
            )));
        }
        Goal::Job(text) => text,
    };
    let digest = digest_of(text.as_bytes());
    let plain = job::spec_name(text, &digest);
    // The same job goes on where it stopped; another job of the same name must not be mixed with it.
    let runs = registry.read(|reader| reader.runs()).await?;
    let of_job = runs.iter().filter(|run| run.job.as_ref() == Some(&digest)).find_map(|run| run.spec.clone());
    if let Some(spec) = of_job {
        return Ok(spec);
    }
    let taken = existing.contains(&plain) || runs.iter().any(|run| run.spec.as_ref() == Some(&plain));
    if !taken {
        return Ok(plain);
    }
    let suffix: String = digest.as_str().chars().take(SUFFIX_CHARS).collect();
    let mut head = plain.to_string();
    head.truncate(head.floor_char_boundary(90 - SUFFIX_CHARS));
    Ok(SpecName::new(format!("{}-{suffix}", head.trim_end_matches(['-', '.', '_'])))?)
}
