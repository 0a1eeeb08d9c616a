//! What Linux tells of this process, under the names that Prometheus clients share.

use std::fs;

/// Ticks of `/proc/self/stat` in a second; the same on all architectures.
const TICKS_PER_SECOND: f64 = 100.0;

/// Name, type and value of what can be read.
pub(super) fn figures() -> Vec<(&'static str, &'static str, f64)> {
    let mut figures = Vec::new();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let numbers: Vec<&str> = behind_name.split_whitespace().collect();
    // proc(5) counts from 1, and these begin with the third.
    let field = |number: usize| numbers.get(number - 3)?.parse::<f64>().ok();
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        let seconds = (user + system) / TICKS_PER_SECOND;
        figures.push(("process_cpu_seconds_total", "counter", seconds));
    }
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "));
    if let (Some(boot), Some(ticks)) = (boot.and_then(|text| text.parse::<f64>().ok()), field(22)) {
        let seconds = boot + ticks / TICKS_PER_SECOND;
        figures.push(("process_start_time_seconds", "gauge", seconds));
    }
    let (open, max) = super::facts::file_descriptors();
    figures.push(("process_open_fds", "gauge", open as f64));
    figures.push(("process_max_fds", "gauge", max as f64));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, key) in [
        ("process_virtual_memory_bytes", "VmSize:"),
        ("process_resident_memory_bytes", "VmRSS:"),
    ] {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        if let Some(kib) = kib {
            figures.push((name, "gauge", kib * 1024.0));
        }
    }
    figures
}
