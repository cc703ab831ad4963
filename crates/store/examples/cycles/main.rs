//! The measuring program of `bench/cluster`: what one process does to a store, without sockets.
//!
//! `work` takes messages in, leases, journals and settles them as the gateway does; `leases` times
//! leases before a backlog. Both print one line of JSON.

mod given;
mod leases;
mod mail;
mod store;
mod times;
mod work;

use std::error::Error;
use std::process::ExitCode;

use given::Given;
use store::Store;

type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Fault> {
    let given = Given::read(std::env::args().skip(1))?;
    let store = Store::open(given.text("store")?).await?;
    let found = match given.command.as_str() {
        "work" => work::run(&store, &given).await?,
        "leases" => leases::run(&store, &given).await?,
        other => return Err(format!("the command is {other:?}, must be work or leases").into()),
    };
    store.close().await;
    println!("{found}");
    Ok(())
}
