//! The loaded model on huge pages.
//!
//! Weights and activations of a small model lie in many small allocations: tens of thousands of pages of 4 KiB, more than the
//! processor's address cache holds, and placed by chance. So two processes of one model differ for as long as they live: p50 of
//! 2.56 to 2.81 ms among six on an AMD EPYC, 2.49 to 2.50 ms once on pages of 2 MiB. A canary is compared with a margin of such a
//! size; and everyone is faster.

use std::fs;
use std::io;
use std::ops::Range;

use crate::proc::kibibytes;

/// A mapping with fewer of its pages in use is left alone, such as the stack of a thread: a huge page takes all of its memory.
const RESIDENT_SHARE_MIN: f64 = 0.5;

/// Moves this process's memory to huge pages where the kernel has them (`MADV_COLLAPSE`, Linux 6.1), whatever the node's setting
/// for transparent huge pages. Takes some milliseconds a MiB; returns how many KiB lie on huge pages then.
///
/// # Errors
/// When `/proc/self` cannot be read. A mapping that the kernel refuses stays on small pages.
pub fn collapse() -> io::Result<u64> {
    for mapping in dense_mappings(&fs::read_to_string("/proc/self/smaps")?) {
        advise(mapping);
    }
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    Ok(rollup
        .lines()
        .find_map(|line| kibibytes(line, "AnonHugePages"))
        .unwrap_or(0))
}

/// Addresses of the mappings that are private, writable, of no file, and mostly in use.
fn dense_mappings(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut mapping = None;
    for line in smaps.lines() {
        if let Some(resident) = kibibytes::<usize>(line, "Rss") {
            let dense = mapping.take().filter(|it: &Range<usize>| {
                resident as f64 * 1024.0 >= RESIDENT_SHARE_MIN * it.len() as f64
            });
            found.extend(dense);
        } else if let Some(header) = anonymous(line) {
            mapping = Some(header);
        }
    }
    found
}

/// Addresses of a header line like `7f0000000000-7f0000200000 rw-p 00000000 00:00 0`.
fn anonymous(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    let name = fields.nth(3);
    if rights != "rw-p" || !matches!(name, None | Some("[heap]")) {
        return None;
    }
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

#[allow(unsafe_code, reason = "no crate wraps this advice yet")]
fn advise(mapping: Range<usize>) {
    // SAFETY: the advice changes which physical pages hold the memory, never its content, address or rights, whatever is
    // mapped there by now.
    let result = unsafe {
        libc::madvise(
            mapping.start as *mut libc::c_void,
            mapping.len(),
            libc::MADV_COLLAPSE,
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(?mapping, %error, "not on huge pages, or not all of it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_files_and_those_hardly_used_are_left_alone() {
        let smaps = "\
55d000000000-55d000400000 rw-p 00000000 00:00 0                          [heap]
Size:               4096 kB
Rss:                4000 kB
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Rss:                2048 kB
VmFlags: rd wr
7f0000800000-7f0001000000 rw-p 00000000 00:00 0
Rss:                  12 kB
7f0002000000-7f0002400000 r--p 00000000 08:01 42                         /usr/lib/libc.so.6
Rss:                4096 kB
7f0003000000-7f0003400000 rw-p 00001000 08:01 42                         /usr/lib/libc.so.6
Rss:                4096 kB
7ffc00000000-7ffc00400000 rw-p 00000000 00:00 0                          [stack]
Rss:                4096 kB
";
        let expected = [
            0x55d0_0000_0000..0x55d0_0040_0000,
            0x7f00_0000_0000..0x7f00_0040_0000,
        ];
        assert_eq!(dense_mappings(smaps), expected);
    }

    #[test]
    fn what_is_moved_keeps_its_content() {
        let written: Vec<u32> = (0..4 << 20).collect();
        collapse().unwrap();
        assert!(written.iter().copied().eq(0..4 << 20));
    }
}
