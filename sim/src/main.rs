//! The command `ipcz-sim`.

/// Runs of a simulator are made of small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ipcz_sim::cli::main()
}
