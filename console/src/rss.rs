//! Peak memory of a process, as Linux counts it.

use std::io;

use crate::quantity::ByteSize;

/// The most memory this process ever held resident.
///
/// # Errors
/// Where the system does not keep `/proc`.
pub fn peak_rss() -> io::Result<ByteSize> {
    parse(&std::fs::read_to_string("/proc/self/status")?)
}

/// Counts the peak of [`peak_rss`] from the memory that this process holds now.
///
/// # Errors
/// Where the system does not keep `/proc`, or does not let this process reset its own mark.
pub fn restart_peak_rss() -> io::Result<()> {
    // "5" resets the peak resident set size (proc_pid_clear_refs(5)).
    std::fs::write("/proc/self/clear_refs", "5")
}

/// The most memory a running process ever held resident. Ask before it is waited for: its record goes with it.
///
/// # Errors
/// Where the process is gone or the system does not keep `/proc`.
pub fn peak_rss_of(pid: u32) -> io::Result<ByteSize> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/status"))?)
}

/// `VmHWM:      1234 kB`, where kB means 1024 bytes (proc_pid_status(5)). A process that has exited but is not yet
/// waited for has no such line.
fn parse(status: &str) -> io::Result<ByteSize> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .and_then(|kib| kib.checked_mul(1024))
        .map(ByteSize::bytes)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "no peak memory (VmHWM) in the process's status",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_kibibytes() {
        let status = "Name:\tagent\nVmPeak:\t  999 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1000 kB\n";
        assert_eq!(parse(status).unwrap(), ByteSize::bytes(2 << 20));
        assert!(parse("Name:\tagent\nState:\tZ (zombie)\n").is_err());
        assert!(parse("VmHWM:\t-1 kB\n").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_rss().unwrap() > ByteSize::bytes(1 << 16));
        assert!(peak_rss_of(std::process::id()).unwrap() > ByteSize::bytes(1 << 16));
    }
}
