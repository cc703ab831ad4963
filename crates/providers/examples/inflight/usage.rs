//! What this process has used, as Linux counts it (proc(5)).

use crate::Fault;

/// Ticks a second of the times in `/proc/self/stat`: USER_HZ is 100 on every architecture that
/// the gateway runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time, user and system.
pub(crate) fn cpu_seconds() -> Result<f64, Fault> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("unreadable /proc/self/stat")?;
    // Fields 14 and 15, counted from the process's state, which is the third.
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    let ticks = ticks.sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_PER_SECOND)
}

/// Memory resident now.
pub(crate) fn resident_kib() -> Result<u64, Fault> {
    status("VmRSS:")
}

/// The most that was resident.
pub(crate) fn peak_kib() -> Result<u64, Fault> {
    status("VmHWM:")
}

fn status(name: &str) -> Result<u64, Fault> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("unreadable /proc/self/status")?.parse()?)
}
