//! The launcher: a fresh process of the host's own, with one thread, that confines itself and then
//! becomes the command. Nothing here runs in the host itself.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ExitCode, Stdio};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, LandlockStatus, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, set_no_new_privs};

use super::filter;
use super::policy::{Answer, LAUNCHER, MAX_POLICY_BYTES, NEEDED_ABI, Policy, Protection};

/// The exit code of a launcher that became no command.
const NOT_LAUNCHED: u8 = 125;
/// By so much commands yield to the host and to people.
const NICE: i32 = 5;
/// Devices that programs write to, and that hold nothing.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full"];

/// Whether this process was started as a launcher. To be asked before anything else: threads that are
/// started before it confines itself would not be confined.
#[must_use]
pub fn is_launcher() -> bool {
    std::env::args_os().nth(1).is_some_and(|first| first == LAUNCHER)
}

/// Confines this process as its standard input says, and becomes the program that its arguments name.
/// Returns only if that failed, after it has said so there.
#[must_use]
pub fn launch() -> ExitCode {
    let Ok(channel) = std::io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::from(NOT_LAUNCHED) };
    let mut channel = File::from(channel);
    let answer = confined(&mut channel).unwrap_or_else(Answer::Refused);
    let code = if matches!(answer, Answer::Can(_)) { ExitCode::SUCCESS } else { ExitCode::from(NOT_LAUNCHED) };
    let said = serde_json::to_vec(&answer).map_err(std::io::Error::from).and_then(|text| channel.write_all(&text));
    if said.is_err() {
        // Somebody typed it.
        let _ = writeln!(std::io::stderr(), "this is how necro-host starts commands; it is of no use by hand");
    }
    code
}

fn confined(channel: &mut File) -> Result<Answer, String> {
    let mut text = Vec::new();
    let read = std::io::Read::by_ref(channel).take(MAX_POLICY_BYTES as u64 + 1).read_to_end(&mut text);
    read.map_err(|error| format!("the policy cannot be read: {error}"))?;
    let policy: Policy = serde_json::from_slice(&text).map_err(|error| format!("this is no policy: {error}"))?;
    limit(&policy)?;
    // Whoever starts too many processes must not keep the host from ending them.
    let _ = rustix::process::nice(NICE);
    let network_namespace = !policy.network && leave_network();
    let landlock_abi = restrict(&policy)?;
    // What root may do beyond others goes: it would pass by some of the rules above.
    set_no_new_privs(true).map_err(|error| format!("privileges cannot be given up: {error}"))?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(|error| format!("capabilities cannot be given up: {error}"))?;
    filter::apply(policy.network)?;
    if policy.probe {
        return Ok(Answer::Can(Protection { landlock_abi, network_namespace }));
    }
    Ok(become_command())
}

#[expect(clippy::disallowed_methods, reason = "the launcher becomes the command")]
fn become_command() -> Answer {
    let mut args = std::env::args_os().skip(2);
    let Some(program) = args.next() else { return Answer::NotFound };
    let error = std::process::Command::new(program).args(args.collect::<Vec<OsString>>()).stdin(Stdio::null()).exec();
    match error.kind() {
        std::io::ErrorKind::NotFound => Answer::NotFound,
        _ => Answer::NotRun(error.to_string()),
    }
}

/// Takes the limits that each process has for itself; those of all together are watched by the host.
fn limit(policy: &Policy) -> Result<(), String> {
    let limits = policy.limits;
    // Reaching the soft limit asks the process to end, the hard one ends it.
    let wanted = [
        (Resource::Core, 0, 0),
        (Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds.saturating_add(2)),
        (Resource::Data, limits.memory_bytes, limits.memory_bytes),
        (Resource::Fsize, limits.file_bytes, limits.file_bytes),
    ];
    for (resource, soft, hard) in wanted {
        let hard = getrlimit(resource).maximum.map_or(hard, |most| most.min(hard));
        let limit = Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) };
        setrlimit(resource, limit).map_err(|error| format!("the limit {resource:?} cannot be set: {error}"))?;
    }
    // Inside another sandbox this is refused, and that one's mark stays.
    let _ = setrlimit(Resource::Rttime, Rlimit { current: Some(policy.mark), maximum: Some(policy.mark) });
    Ok(())
}

/// Moves into a network of its own that has no connection, where that is allowed. What it forbids is
/// forbidden a second time by the filter.
#[expect(deprecated, reason = "marked as unsafe only for sharing descriptors, which is not asked for")]
fn leave_network() -> bool {
    use rustix::thread::unshare;
    if unshare(UnshareFlags::NEWNET).is_ok() {
        return true;
    }
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET).is_err() {
        return false;
    }
    // Without these it would go on as nobody, and own none of its files.
    let _ = std::fs::write("/proc/self/setgroups", "deny");
    let _ = std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"));
    let _ = std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"));
    true
}

/// Restricts itself by Landlock; gives the version of its interface.
fn restrict(policy: &Policy) -> Result<u32, String> {
    let fail = |error: landlock::RulesetError| format!("Landlock refuses: {error}");
    let (needed, wanted) = (AccessFs::from_all(ABI::V3), AccessFs::from_all(ABI::V5));
    let devices = AccessFs::WriteFile | AccessFs::ReadFile;
    let kept_out: BitFlags<AccessFs> = AccessFs::MakeChar | AccessFs::MakeBlock;
    let read = AccessFs::from_read(ABI::V3);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(needed)
        .map_err(fail)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(wanted)
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .map_err(fail)?
        .create()
        .and_then(|rules| rules.add_rules(path_beneath_rules(&policy.write, needed & !kept_out)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(&policy.read, read)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(DEVICES, devices)))
        .and_then(|rules| rules.restrict_self())
        .map_err(fail)?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } if status.ruleset != RulesetStatus::NotEnforced => {
            let abi = kernel_abi.unwrap_or(effective_abi as i32);
            let abi = u32::try_from(abi).unwrap_or_default();
            if abi < NEEDED_ABI { Err(format!("Landlock has version {abi}, {NEEDED_ABI} is needed")) } else { Ok(abi) }
        }
        _ => Err("Landlock is not part of this kernel, or is switched off".to_owned()),
    }
}
