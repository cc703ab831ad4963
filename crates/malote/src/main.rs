//! The gateway's program: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Many small allocations on many threads: measurably less CPU a message than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    malote::cli::main()
}
