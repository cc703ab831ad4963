//! The gateway's program.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let files = std::env::args().skip(3).map(Into::into).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(malote::serve::run(files))
}
