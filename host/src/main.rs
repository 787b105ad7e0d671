//! The binary: hands the arguments over and returns the exit code.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    necro_host::cli::main()
}
