//! Flags of the commands that install plugins and decide what they may do.

use clap::Args;

use super::Place;
use crate::domain::grant::Interface;
use crate::domain::id::Digest;

/// Flags of `plugin inspect` and `plugin diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  necro-host plugin inspect routing/least-busy
  necro-host plugin inspect target/wasm32-wasip2/release/mine.wasm

JSON: an object with `name`, `kind`, `world`, `version`, `description`, `digest`, `size_bytes`, `imports`, \
`capabilities`, `asks` (`interface`, `gives`, `why`, `optional`, `scope`), `not_asked` (interfaces that it imports and \
its manifest does not ask for), `decided`, `granted`, `limits` (those that hold here), `settings` (those that it takes), \
`says` (what the plugin says of itself; null for policies).")]
pub(crate) struct InspectArgs {
    /// A name of the built-in set or an installed plugin, such as `routing/least-busy` or `qa`, or a component file.
    pub plugin: String,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin diff`.
#[derive(Debug, Args)]
#[command(
    after_help = "A new version has a new digest, and no grant: this shows what it asks for beyond what was given before.

Examples:
  necro-host plugin diff critic
  necro-host plugin diff ./critic-0.2.0.wasm

JSON: an object with `plugin`, `digest`, `decided`, `against` (the digest that was granted; null: none was), `lines` \
(`interface`, `granted`, `asked`: bounds in words, empty for none, null for not at all)."
)]
pub(crate) struct DiffArgs {
    /// A plugin's name, or a component file.
    pub plugin: String,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin install`.
#[derive(Debug, Args)]
#[command(
    after_help = "The bytes are kept by their digest below the state directory; name, source and digest are written to \
necro.lock at the root of the repository, which belongs into git. Without a source everything that stands \
there is fetched, and refused when it is something else by now. What a plugin may do is another question: \
`plugin grant` answers it.

Examples:
  necro-host plugin install ./target/plugin/fewest-skills.wasm
  necro-host plugin install https://plugins.example/critic.wasm --sha256 4f…e1
  necro-host plugin install                                    fetch what necro.lock names

JSON: an object with `name`, `kind`, `version`, `digest`, `size_bytes`, `source`, `before` (the digest that stood \
there), `needs_grant`; without a source a list of such objects with `fetched`."
)]
pub(crate) struct InstallArgs {
    /// A component file, or the URL of one.
    #[arg(value_name = "PATH|URL")]
    pub source: Option<String>,
    /// The name that it gets [default: its manifest's, else its file's].
    #[arg(long, requires = "source")]
    pub name: Option<String>,
    /// The SHA-256 that its bytes must have; a URL cannot do without.
    #[arg(long, value_name = "HEX", value_parser = digest, requires = "source")]
    pub sha256: Option<Digest>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin update`.
#[derive(Debug, Args)]
#[command(after_help = "A new digest has no grant: `plugin diff` shows what it asks for beyond the old one's.

Examples:
  necro-host plugin update fewest-skills                       from the file that it came from
  necro-host plugin update critic --from https://plugins.example/critic-0.2.wasm --sha256 9a…07

JSON: as of `plugin install`.")]
pub(crate) struct UpdateArgs {
    /// The installed plugin.
    pub plugin: String,
    /// Another source from here on.
    #[arg(long, value_name = "PATH|URL")]
    pub from: Option<String>,
    /// The SHA-256 that its bytes must have; a URL cannot do without.
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub sha256: Option<Digest>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin remove`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  necro-host plugin remove critic

JSON: the entry that was taken away.")]
pub(crate) struct RemoveArgs {
    /// The installed plugin.
    pub plugin: String,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin grant`.
#[derive(Debug, Args)]
#[command(
    after_help = "Decides about one digest; a new version is asked about again. Without --all and --allow it shows what \
the plugin asks for and why, and asks when somebody is there to answer. What is not granted is answered with \
`denied`, and recorded.

Examples:
  necro-host plugin grant critic                               look, then answer
  necro-host plugin grant critic --all
  necro-host plugin grant critic --allow llm --models fast --max-tokens 20000
  necro-host plugin grant ./gardener.wasm --all --read 'src/**' --write 'src/**' --commands test

JSON: an object with `plugin`, `digest`, `granted` (bounds by interface), `limits`, `withheld`."
)]
pub(crate) struct GrantArgs {
    /// A plugin's name, or a component file.
    pub plugin: String,
    /// Everything that it asks for, with the limits that it wants.
    #[arg(long)]
    pub all: bool,
    /// This interface: llm, workspace, workspace-edit, command, registry, mailbox, lock or artifact. May be given
    /// several times.
    #[arg(long, value_name = "INTERFACE", value_parser = interface, conflicts_with = "all")]
    pub allow: Vec<Interface>,
    /// Only these model aliases.
    #[arg(long, value_name = "ALIAS", value_delimiter = ',')]
    pub models: Option<Vec<String>>,
    /// Only so many tokens, sent and received, for each execution.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
    /// Only files of this glob are read. May be given several times.
    #[arg(long, value_name = "GLOB")]
    pub read: Option<Vec<String>>,
    /// Only files of this glob are written. May be given several times.
    #[arg(long, value_name = "GLOB")]
    pub write: Option<Vec<String>>,
    /// Only these commands of the configuration.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub commands: Option<Vec<String>>,
    /// Only locks whose names begin so.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pub locks: Option<Vec<String>>,
    /// Only artifacts of these kinds are stored.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub artifacts: Option<Vec<String>>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON; nobody is asked anything then.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin revoke`.
#[derive(Debug, Args)]
#[command(after_help = "Executions under way keep what they began with; whatever begins later does not have it.

Examples:
  necro-host plugin revoke critic                              everything, of all its versions
  necro-host plugin revoke backend --interface command
  necro-host plugin revoke 4f3a9c21                            one digest, by its beginning

JSON: a list of objects as of `plugin grant`; `withheld` is what was taken away.")]
pub(crate) struct RevokeArgs {
    /// A plugin's name, or a digest or its beginning.
    pub plugin: String,
    /// Only this interface. May be given several times.
    #[arg(long, value_name = "INTERFACE", value_parser = interface)]
    pub interface: Vec<Interface>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin ls`.
#[derive(Debug, Args)]
#[command(
    after_help = "JSON: a list of objects with `kind`, `name`, `version`, `source`, `size_bytes`, `digest`, `here` \
(whether its bytes are on this machine), `decided` (whether anybody has decided what it may do)."
)]
pub(crate) struct LsArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::new(text.to_lowercase()).map_err(|error| error.to_string())
}

fn interface(text: &str) -> Result<Interface, String> {
    Interface::by_name(text).ok_or_else(|| {
        let names: Vec<&str> = Interface::ALL.iter().map(|interface| interface.name()).collect();
        format!("there are: {}", names.join(", "))
    })
}
