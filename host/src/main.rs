//! The binary: hands the arguments over and returns the exit code. Before anything else it asks whether
//! it is a command's launcher.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    if necro_host::sandbox::is_launcher() {
        return necro_host::sandbox::launch();
    }
    necro_host::cli::main()
}
