//! `init`: a `necro.toml` in which every setting stands with its default, commented out.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use super::args::InitArgs;
use super::{open, out};
use crate::config;
use crate::service::{self, ServiceError};

/// Runs `init`.
pub(crate) async fn run(args: InitArgs) -> Result<(), ServiceError> {
    let path = open::blocking(move || write(&args)).await?;
    out::print(&format!("wrote {path}; `necro-host doctor` says which gate is found without it\n"))
}

fn write(args: &InitArgs) -> Result<String, ServiceError> {
    let path = service::root_of(&args.repo, &open::cwd()?)?.join(config::FILE_NAME);
    let mut options = OpenOptions::new();
    // `create_new` refuses whatever is there, a dangling link included.
    options.write(true).create_new(!args.force).create(args.force).truncate(args.force);
    let mut file = options.open(&path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => {
            ServiceError::Usage(format!("`{}` is there already; --force replaces it", path.display()))
        }
        _ => ServiceError::Io { path: path.clone(), source },
    })?;
    file.write_all(config::TEMPLATE.as_bytes()).map_err(|source| ServiceError::Io { path: path.clone(), source })?;
    Ok(path.display().to_string())
}
