//! The table: each component, its deed, and how that ends.

use necro_host::plugin::PluginKind;

use crate::made;

/// How a component is played. Names are those of examples of `tests/guests/hostile/`, or of guests.
pub(crate) enum Act {
    /// These bytes are loaded as whatever they are.
    Load(fn() -> Vec<u8>),
    /// The component is loaded as this kind.
    LoadAs(&'static str, PluginKind),
    /// It routes an issue.
    Route(&'static str),
    /// It routes an issue with these settings.
    RouteBy(&'static str, &'static str),
    /// It routes the same issue twice.
    Twice(&'static str),
    /// It orders tasks.
    Order(&'static str),
    /// It judges a change, with nothing granted.
    Review(&'static str),
    /// It does an assignment, with everything granted.
    Perform(&'static str),
    /// It does an assignment with these settings.
    PerformBy(&'static str, &'static str),
    /// These bytes do an assignment with these grants.
    Granted(fn() -> Vec<u8>, &'static str),
    /// It does an assignment in a real slot, with these grants; none: everything.
    InSlot(&'static str, &'static str),
}

/// One component.
pub(crate) struct Row {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) deed: &'static str,
    /// How it is played.
    pub(crate) act: Act,
    /// What the error, or what came of it, says.
    pub(crate) ends: &'static str,
}

const fn row(name: &'static str, deed: &'static str, act: Act, ends: &'static str) -> Row {
    Row { name, deed, act, ends }
}

use Act::{Granted, InSlot, Load, LoadAs, Order, Perform, PerformBy, Review, Route, RouteBy, Twice};
use PluginKind::{Routing, Scheduling};

/// All of them.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    // Files that are no plugins.
    row("empty file", "has no bytes", Load(made::empty), "it is empty"),
    row("script", "is a shell script", Load(made::script), "it does not begin like WebAssembly"),
    row("native code", "is a program for the processor", Load(made::native), "it is native or precompiled code"),
    row("core module", "is a core module in place of a component", Load(made::core_module), "it is a core module"),
    row("cut component", "ends in the middle", Load(made::truncated), "its sections are broken at byte"),
    row("endless section", "has a section that is longer than the file", Load(made::endless_section), "its sections are broken at byte"),
    // Plugins of another world.
    row("wrong-world", "exports something else", LoadAs("wrong_world", Routing), "exports no plugin interface"),
    row("wrong kind", "is a routing policy where a scheduling policy is asked for", LoadAs("last-candidate", Scheduling), "is a routing plugin, but a scheduling plugin is asked for"),
    row("two-worlds", "is a policy of two kinds", Load(|| made::by_name("two_worlds")), "exports the interfaces of several worlds"),
    row("next-contract", "is built for the contract's next version", LoadAs("next-contract", Routing), "needs necro:plugin@0.2, this host has 0.1"),
    row("changed-record", "has a record of another form", LoadAs("changed-record", Routing), "cannot be instantiated: failed to convert function to given type"),
    row("over-reaching", "is a policy that imports files and commands", LoadAs("over-reaching", Routing), "cannot have: `necro:plugin/command@0.1.0`, `necro:plugin/workspace-edit@0.1.0`"),
    row("thread-import", "imports threads", LoadAs("thread_import", Routing), "cannot have: `necro:hostile/threads`"),
    row("socket-import", "imports the network under a name of WASI", LoadAs("socket_import", Routing), "cannot have: `wasi:tls/client@0.2.0`"),
    // Harm before anything is called.
    row("start-trap", "panics while its globals are made, before its own function", Route("start_trap"), "before the beginning"),
    row("start-loop", "loops while its globals are made, before its own function", Route("start_loop"), "exceeded its fuel limit"),
    row("module start", "has a module whose start traps", Load(made::module_start_trap), "cannot be instantiated: routing `hostile` trapped"),
    row("module loop", "has a module whose start never ends", Load(made::module_start_loop), "cannot be instantiated: routing `hostile` was stopped: it exceeded its"),
    row("table growth", "grows a table for ever", Load(made::table_growth), "cannot be instantiated: routing `hostile` trapped"),
    row("huge table", "has a table of fifty million elements", Load(made::huge_table), "exceeds the limit of"),
    row("huge memory", "has a memory of four gibibytes", Load(made::huge_memory), "exceeds the limit of"),
    row("shared memory", "shares memory with threads", Load(made::shared_memory), "threads must be enabled for shared memories"),
    row("many instances", "has five hundred instances", Load(made::many_instances), "instance count too high"),
    // Manifests that lie.
    row("lying kind", "its manifest says another kind", Load(made::lying_kind), "its manifest says that it is a review plugin, but it is a routing plugin"),
    row("misspelt manifest", "its manifest has a key that nobody knows", Load(made::misspelt_manifest), "unknown field `trusted`"),
    row("greedy manifest", "its manifest wants what its world does not have", Load(made::greedy_manifest), "wants.command: a routing plugin cannot have it"),
    row("manifest without text", "its manifest is no UTF-8", Load(made::manifest_that_is_no_text), "its sections are broken"),
    row("modest manifest", "calls what its manifest does not want", Granted(made::modest_manifest, "[llm]\n[workspace]\n[workspace-edit]\n[command]\n[registry]\n[mailbox]\n[lock]\n[artifact]"), "every call is denied"),
    // Too much of everything.
    row("endless-loop", "loops", Route("endless-loop"), "exceeded its fuel limit"),
    row("endless-sleep", "sleeps for ever", Route("endless_sleep"), "exceeded its"),
    row("deep-recursion", "calls itself for ever", Route("deep-recursion"), "call stack exhausted"),
    row("memory-hog", "takes memory and keeps it", Route("memory-hog"), "exceeded its memory limit"),
    row("huge-string", "hands the host two mebibytes of text", Route("huge_string"), "exceeded its host call size limit"),
    row("huge-list", "hands the host a hundred thousand fields", Route("huge_list"), "exceeded its host call size limit"),
    row("call-storm", "calls the host for ever", Route("call_storm"), "exceeded its host call limit"),
    row("print-storm", "prints for ever", Route("print_storm"), "exceeded its fuel limit"),
    row("large result", "returns two mebibytes", RouteBy("bad-output", r#""size""#), "exceeded its host call size limit"),
    row("oversized state", "returns more state than is kept", RouteBy("bad-output", r#""state""#), "its state has 4097 bytes, 4096 are allowed"),
    row("long reason", "returns a reason of 65 KiB", RouteBy("bad-output", r#""reason""#), "a text of 66560 bytes, 65536 are allowed"),
    row("many-scores", "returns twenty thousand scores", Route("many_scores"), "exceeded its host call size limit"),
    row("plan-flood", "returns twenty thousand placements", Order("plan_flood"), "exceeded its host call size limit"),
    row("finding-flood", "returns twenty thousand findings", Review("finding_flood"), "20000 findings, 10000 are allowed"),
    row("log flood", "logs fifty megabytes", PerformBy("every-call", r#""log-flood""#), "exceeded its host call limit"),
    row("status storm", "asks for the status for ever", PerformBy("every-call", r#""call-flood""#), "exceeded its host call limit"),
    row("lease-hoard", "takes locks and gives none back", Perform("lease_hoard"), "exceeded its host call limit"),
    row("journal-flood", "stores artifacts for ever", Perform("journal_flood"), "exceeded its host call limit"),
    // Nonsense as an answer.
    row("NaN", "gives a score that is no number", RouteBy("bad-output", r#""score""#), "the score of `backend` is NaN"),
    row("infinite-score", "gives a score that overflows", Route("infinite_score"), "the score of `backend` is inf"),
    row("nobody", "chooses what is no spirit's name", RouteBy("bad-output", r#""instance""#), "is not a spirit instance"),
    row("unknown-spirit", "chooses a spirit that is no candidate", Route("unknown_spirit"), "the policy chose backend_spirit_9, which is no candidate"),
    row("made-up-plan", "places tasks and pools that are not there, and one task twice", Order("made_up_plan"), "1 placed; refused: task 99 in pool `all` is left out"),
    row("invalid-text", "returns a text that is no UTF-8", Route("invalid_text"), "invalid utf-8 sequence"),
    // Breaking what safe code keeps.
    row("invalid-text-out", "hands the host a text that is no UTF-8", Route("invalid_text_out"), "invalid utf-8 sequence"),
    row("wild-pointer", "hands the host a text beyond its memory", Route("wild_pointer"), "string pointer/length out of bounds of memory"),
    row("wrong-enum", "hands the host a level that does not exist", Route("wrong_enum"), "unexpected discriminant: 200"),
    row("forged-lease", "uses a lease that nobody gave it", Perform("forged_lease"), "unknown handle index 4711"),
    row("lease-twice", "gives one lease back twice", Perform("lease_twice"), "unknown handle index"),
    row("reentrant", "calls the host while it is handed its input", Route("reentrant"), "cannot leave component instance"),
    row("panic", "panics", Route("panic"), "nothing is known about 1"),
    row("drop-trap", "panics when it is cleaned up", Route("drop_trap"), "while it is dropped"),
    row("panic with a lease", "panics with a lease in its hands", PerformBy("every-call", r#""panic-with-lease""#), "with a lease in its hands"),
    row("early-exit", "ends its process", Route("early_exit"), "trapped: Exited with i32 exit status 0"),
    // Looking around.
    row("probing", "decides by clocks and chance", Twice("probing"), "the same each time: decided: "),
    row("inert-wasi", "looks for files, arguments, the environment and sockets", Perform("inert-wasi"), "file: false"),
    // What was not granted.
    row("every-call", "calls everything with nothing granted", Granted(|| made::by_name("every-call"), ""), "every call is denied"),
    row("ungranted-model", "is a heuristic that asks a model without a grant", Review("ungranted_model"), "denied: "),
    row("beyond-scopes", "goes beyond models, commands, locks and kinds that it was granted", Granted(|| made::by_name("beyond_scopes"), "[llm]\nmodels = ['fast']\n[command]\nnames = ['test']\n[lock]\nprefixes = ['db/']\n[artifact]\nkinds = ['log']"), "every call is denied"),
    row("forged-sender", "sends in another's name, and no JSON", Perform("forged_sender"), "\"no JSON\": invalid: "),
    // Out of the work tree.
    row("path-escapes", "tries `..`, absolute paths, NUL, `.git` and very long names with every call", InSlot("path_escapes", ""), "every call is refused"),
    row("link-walker", "goes through links that lead out", InSlot("link_walker", ""), "every call is refused"),
    row("other-slot", "reads and writes another slot and its repository", InSlot("other_slot", ""), "every call is refused"),
    row("beyond-globs", "reads and writes files that its scopes leave out", InSlot("beyond_globs", "[workspace]\nread = ['src/**']\n[workspace-edit]\nwrite = ['src/**']"), "every call is refused: every call is denied"),
    row("mask-marker", "writes back a masked secret's marker", InSlot("mask_marker", ""), "\"write back\": denied: "),
];
