//! What the base commit says about how to work: settings, gate, steering, specs. Never read from an
//! attempt: a spirit cannot change its own judge.

use super::error::ServiceError;
use super::steering::SteeringSet;
use crate::config::{self, Config, Detected, WorkspaceSettings};
use crate::domain::id::{CommitId, SpecName};
use crate::domain::mask::Mask;
use crate::workspace::{Objects, TreeId, WorkspaceError};

/// What the base commit says about how to work.
pub(crate) struct BaseFiles {
    settings: Option<Vec<u8>>,
    /// The gate that the files suggest.
    pub(crate) detected: Option<Detected>,
    steering: SteeringSet,
    /// Specs with a tasks.md.
    pub(crate) specs: Vec<SpecName>,
    requirements: Vec<(SpecName, Vec<u8>)>,
    has_submodules: bool,
    has_lfs: bool,
}

impl BaseFiles {
    /// Reads what a run needs of `base`.
    pub(crate) fn read(objects: &Objects, base: &CommitId) -> Result<Self, WorkspaceError> {
        let tree: TreeId = objects.tree_of(base)?;
        let paths = objects.list_files(&tree, "")?;
        let file = |path: &str| objects.read_file(&tree, path).ok().flatten();
        let steering = SteeringSet::read(objects, &tree, &paths)?;
        let specs: Vec<SpecName> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(".kiro/specs/")?.strip_suffix("/tasks.md"))
            .filter_map(|name| SpecName::new(name).ok())
            .collect();
        let requirements = specs
            .iter()
            .filter_map(|spec| Some((spec.clone(), file(&format!(".kiro/specs/{spec}/requirements.md"))?)))
            .collect();
        Ok(Self {
            settings: file(config::FILE_NAME),
            detected: config::detect::detect(&paths, &file),
            steering,
            has_submodules: paths.iter().any(|path| path == ".gitmodules"),
            has_lfs: file(".gitattributes").is_some_and(|text| String::from_utf8_lossy(&text).contains("filter=lfs")),
            specs,
            requirements,
        })
    }

    /// What spirits will not see as the operator does.
    ///
    /// # Errors
    /// [`ServiceError::Usage`]: the settings ask for what slots cannot have.
    pub(crate) fn warnings(&self, settings: &WorkspaceSettings) -> Result<Vec<String>, ServiceError> {
        if settings.lfs && self.has_lfs {
            return Err(ServiceError::Usage(format!(
                "workspace.lfs = true asks for large files of Git LFS in the slots that spirits and the gate work in, \
                 which cannot be fetched: take the line out of {}, and let a command of the gate with `network = true` \
                 fetch them",
                config::FILE_NAME
            )));
        }
        let mut warnings = Vec::new();
        if self.has_submodules && !settings.submodules {
            warnings.push("submodules stay empty in the clones that spirits and the gate work in".to_owned());
        }
        if self.has_lfs {
            warnings.push("files of Git LFS are pointers in the clones that spirits and the gate work in".to_owned());
        }
        Ok(warnings)
    }

    /// Whether there is a `necro.toml`.
    pub(crate) fn is_configured(&self) -> bool {
        self.settings.is_some()
    }

    /// The settings of the base commit; defaults when it has none.
    pub(crate) fn config(&self) -> Result<Config, ServiceError> {
        let Some(bytes) = &self.settings else { return Ok(Config::default()) };
        let text = std::str::from_utf8(bytes)
            .map_err(|_| ServiceError::Usage(format!("{} in the base commit is not UTF-8", config::FILE_NAME)))?;
        Ok(Config::parse(text, config::FILE_NAME)?)
    }

    /// Steering documents, without secrets.
    pub(crate) fn steering(&self, mask: &Mask) -> SteeringSet {
        self.steering.clone().masked(mask)
    }

    /// A spec's requirements.md.
    pub(crate) fn requirements(&self, spec: &SpecName) -> Option<&[u8]> {
        self.requirements.iter().find(|(name, _)| name == spec).map(|(_, bytes)| bytes.as_slice())
    }
}
