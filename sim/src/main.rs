//! The command `ipcz-sim`.

fn main() -> std::process::ExitCode {
    ipcz_sim::cli::main()
}
