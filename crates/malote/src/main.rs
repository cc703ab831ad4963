//! The gateway's program: everything is in the library.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Many small allocations that one thread makes and another frees: measurably less CPU a message
/// than the system's. `.cargo/config.toml` tells it to give memory back soon.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    malote::cli::main()
}
