//! Proof that a process of this machine has ended: it had a name, and the kernel has let go of it.
//!
//! A name is an abstract socket's (unix(7)), which belongs to a network namespace. It is free as soon as
//! its process ends, whatever ended it, and never while that one stands still.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;

use crate::postgres::spool::args::Id;

/// The name of this process, held while it lives.
pub(crate) struct Presence {
    /// Where the name is unique: a boot of the machine and a namespace of it. `None` where no name
    /// could be had; then nobody can prove anything of this process, nor it of others.
    place: Option<String>,
    _name: Option<UnixDatagram>,
}

impl Presence {
    /// Takes the name of this process.
    pub(crate) fn of(process: Id) -> Self {
        let name = take(process).ok();
        let place = name.as_ref().and_then(|_| here().ok());
        Self { place, _name: name }
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// Whether a process that said the same place has ended. Two that ask at one moment may both
    /// hear that it has not.
    pub(crate) fn has_ended(process: Id) -> bool {
        take(process).is_ok()
    }
}

#[cfg(target_os = "linux")]
fn take(process: Id) -> io::Result<UnixDatagram> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = format!("malote-{:032x}", u128::from_be_bytes(process.0));
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

#[cfg(not(target_os = "linux"))]
fn take(_: Id) -> io::Result<UnixDatagram> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The boot of the machine (proc_sys_kernel(5)) and the network namespace (namespaces(7)).
fn here() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let namespace = fs::read_link("/proc/self/ns/net")?;
    Ok(format!("{} {}", boot.trim(), namespace.display()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_has_ended_once_its_name_is_free() {
        let process = Id(rand::random());
        let presence = Presence::of(process);
        assert!(presence.place().is_some_and(|place| place.contains("net:")));
        assert!(!Presence::has_ended(process));
        let twice = Presence::of(process);
        assert_eq!(twice.place(), None, "a name is one process's");
        drop(presence);
        // A child that another test is starting has it, too, until it runs its own program.
        let asked = Instant::now();
        while !Presence::has_ended(process) {
            assert!(asked.elapsed() < Duration::from_secs(5), "it is held");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
